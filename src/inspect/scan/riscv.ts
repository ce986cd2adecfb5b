/**
 * Device directories of RISC-V IOMMUs: pages of device contexts that are legal, and pages that lead to nothing but such pages. RISC-V
 * IOMMU 1.0, "Device-directory-table". Upper levels look like those of a page table; what they lead to does not.
 */
import { hi32, lo32 } from '../../base/u64.ts'
import { checkDc } from '../../format/riscv/check.ts'
import { ppnAddressAt10, TC_V } from '../../format/riscv/contexts.ts'
import { featuresOf, type RiscvFeatures } from '../../format/riscv/features.ts'
import { CAP_MSI_FLAT, DDTP_1LVL, FULL_CAPABILITIES, REG } from '../../format/riscv/registers.ts'
import { allZero, PageList, type Proposal, type Scanner } from './contract.ts'

const BASE_CAPABILITIES = FULL_CAPABILITIES & ~BigInt(CAP_MSI_FLAT >>> 0)

/** The two forms of device contexts. */
interface Form {
  readonly capabilities: bigint
  readonly features: RiscvFeatures
  readonly words: number
}

const form = (capabilities: bigint, words: number): Form => ({
  capabilities,
  features: featuresOf(hi32(capabilities), lo32(capabilities), 0),
  words,
})
const EXTENDED = form(FULL_CAPABILITIES, 16)
const BASE = form(BASE_CAPABILITIES, 8)

/** Scratch: a context of the base form with zeros above it. */
const padded = new Int32Array(16)

/** Whether a page holds device contexts: legal ones or zeros, at least one. */
function isLeaf(words: Int32Array, at: number, { features, words: size }: Form): boolean {
  let valid = 0
  for (let entry = at; entry < at + 1024; entry += size) {
    if ((words[entry]! & TC_V) === 0) {
      if (!allZero(words, entry, size)) return false
      continue
    }
    for (let word = 0; word < size; word++) padded[word] = words[entry + word]!
    padded.fill(0, size)
    if (checkDc(padded, 0, features) !== 0) return false
    valid++
  }
  return valid > 0
}

/** Whether a page holds nothing but zeros and non-leaf entries: V, an address, and reserved bits that are 0. */
function isNode(words: Int32Array, at: number): boolean {
  let valid = 0
  for (let word = at; word < at + 1024; word += 2) {
    const low = words[word]!
    const high = words[word + 1]!
    if ((low | high) === 0) continue
    if ((low & 0x3ff) !== 1 || (high & (-1 << 22)) !== 0 || (low >>> 10) + high === 0) return false
    valid++
  }
  return valid > 0
}

export function riscvScanner(): Scanner {
  const leaves = [EXTENDED, BASE].map((leaf) => ({ leaf, pages: new PageList() }))
  const nodes = new PageList()
  return {
    kind: 'riscv',
    what: 'device directories',
    machines: [243],
    page(pa, words, at) {
      if (isNode(words, at)) nodes.add(pa)
      for (const { leaf, pages } of leaves) if (isLeaf(words, at, leaf)) pages.add(pa)
    },
    *proposals(fresh, absentIsZero) {
      const children = new Map<number, number[]>()
      for (const node of nodes.addresses) {
        const memory = fresh()
        const at = memory.index(node, 4096)
        const found: number[] = []
        for (let word = at; at >= 0 && word < at + 1024; word += 2)
          if (memory.words[word] !== 0) found.push(ppnAddressAt10(memory.words[word + 1]!, memory.words[word]!))
        children.set(node, found)
      }
      for (const { leaf, pages } of leaves) {
        let level = new Set(pages.addresses)
        const tops: number[][] = [[...level]]
        for (let levels = 2; levels <= 3; levels++) {
          const above = nodes.addresses.filter((node) => {
            const below = children.get(node)!
            // What leads to no directory at all is no directory; of a dump without zeros an empty one may be missing.
            return below.some((pa) => level.has(pa)) && (absentIsZero || below.every((pa) => level.has(pa)))
          })
          tops.push(above)
          level = new Set(above)
        }
        // A directory inside a larger one is no root of its own.
        const inside = new Set(tops.slice(1).flatMap((above) => above.flatMap((node) => children.get(node)!)))
        for (let levels = 3; levels >= 1; levels--)
          for (const root of tops[levels - 1]!) if (!inside.has(root)) yield proposal(root, levels, leaf)
      }
    },
  }
}

function proposal(root: number, levels: number, { capabilities, words }: Form): Proposal {
  const value = (BigInt(root) >> 2n) | BigInt(DDTP_1LVL + levels - 1)
  return {
    kind: 'riscv',
    what: `device directory of ${levels} ${levels === 1 ? 'level' : 'levels'}, contexts of ${words * 4} bytes`,
    address: root,
    registers: [
      { name: 'capabilities', offset: REG.capabilities, size: 8, value: capabilities },
      { name: 'ddtp', offset: REG.ddtp, size: 8, value },
    ],
    assumed: [`capabilities are not known: assumed hardware that can do everything, with contexts of ${words * 4} bytes`],
    unsure: false,
  }
}
