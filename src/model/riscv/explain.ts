/** A translation told step by step: which entry was read, where, and what it decided. Nothing lasts. */
import type { TranslationStep } from '../../base/explain.ts'
import { hex } from '../../base/hex.ts'
import { describe, type Layout, wordsToU64 } from '../../base/layout.ts'
import { hi32, lo32, u64 } from '../../base/u64.ts'
import { levelOf, type PtSpace } from '../../format/pt/format.ts'
import { ENTRY_LEAF, ENTRY_TABLE, outputOf, WALK_NAMES, WALK_OK, type WalkObserver } from '../../format/pt/walker.ts'
import { DC, DC_BASE, DDTE, PC, PDTE, ppnAddressAt10 } from '../../format/riscv/contexts.ts'
import type { DirectoryObserver } from '../../format/riscv/lookup.ts'
import { MSI_PTE_FLAT, MSI_PTE_MRIF } from '../../format/riscv/msi.ts'
import { CAUSES } from '../../format/riscv/records.ts'
import { DDTP, REG } from '../../format/riscv/registers.ts'
import type { Translator, TranslatorParts } from './translate.ts'

const MODES = ['Off: nothing passes', 'Bare: everything passes as it is', 'directory of 1 level', 'of 2 levels', 'of 3 levels']

/** Translates with a dry translator, and tells how. */
export function explain(
  parts: TranslatorParts,
  translator: Translator,
  device: number,
  process: number,
  iova: bigint,
  flags: number,
): TranslationStep[] {
  const { registers } = parts
  const steps: TranslationStep[] = []
  const add = (structure: string, address: number | null, layout: Layout, words: Int32Array, decided: string) => {
    const count = layout.bits / 32
    steps.push({
      structure,
      stage: 0,
      level: null,
      address: address === null ? null : BigInt(address),
      words: wordsToU64(words, 0, count),
      fields: describe(layout, words),
      decided,
    })
  }
  const ddtp = Int32Array.of(registers.at(REG.ddtp), registers.at(REG.ddtp + 4))
  add('ddtp', null, DDTP, ddtp, `${MODES[registers.mode]}`)
  const cachedDevice = registers.mode > 1 && parts.devices.find(device, 0)
  if (typeof cachedDevice === 'number' && cachedDevice >= 0) {
    const words = parts.devices.words.subarray(cachedDevice)
    add('DC', null, registers.features.extended ? DC : DC_BASE, words, 'held in the directory cache')
  }
  const { directory, walker } = translator
  const observer: DirectoryObserver & WalkObserver = {
    entry(...given: unknown[]) {
      if (given.length === 3) directoryStep(given[0] as string, given[1] as number, given[2] as number)
      else walkStep(...(given as Parameters<WalkObserver['entry']>))
    },
  }
  const directoryStep = (structure: string, pa: number, status: number) => {
    const leaf = structure === 'DC' || structure === 'PC'
    const at = directory.reads * 2 - 2
    const words = leaf ? directory.words : directory.entry.slice(at, at + 2)
    const layout =
      structure === 'DC'
        ? registers.features.extended
          ? DC
          : DC_BASE
        : structure === 'PC'
          ? PC
          : structure === 'DDTE'
            ? DDTE
            : PDTE
    const decided =
      status !== 0
        ? 'nothing answers, or corrupt data'
        : (words[0]! & 1) === 0
          ? 'V = 0'
          : leaf
            ? 'valid'
            : `next table at ${hex(ppnAddressAt10(words[1]!, words[0]!))}`
    add(structure, pa, layout, words, decided)
  }
  const walkStep: WalkObserver['entry'] = (stage, space, depth, pa, hi, lo, kind, status) => {
    steps.push({
      structure: space.format.name,
      stage: stage as 1 | 2,
      level: levelOf(space.format, depth),
      address: BigInt(pa),
      words: [u64(hi, lo)],
      fields: [],
      decided: entryText(space, hi, lo, kind, status),
    })
  }
  directory.observer = observer
  walker.observer = observer
  translator.translate(device, process, hi32(iova), lo32(iova), flags)
  directory.observer = null
  walker.observer = null
  const { result } = translator
  const { msiTarget } = translator.stages
  if (result.cached) {
    steps.push(note('IOATC', 'a remembered translation answers'))
  } else if (result.msi || (result.cause >= 261 && result.cause <= 263) || result.cause === 270) {
    add(
      'MSI PTE',
      msiTarget.at[0]!,
      result.mrif ? MSI_PTE_MRIF : MSI_PTE_FLAT,
      msiTarget.entry,
      'the address is that of an interrupt file',
    )
  }
  const end =
    result.cause === 0 ? `translated to ${hex(u64(result.hi, result.lo))}` : `${CAUSES[result.cause]} (cause ${result.cause})`
  steps.push(note('outcome', end))
  return steps
}

function note(structure: string, decided: string): TranslationStep {
  return { structure, stage: 0, level: null, address: null, words: [], fields: [], decided }
}

function entryText(space: PtSpace, hi: number, lo: number, kind: number, status: number): string {
  if (status !== WALK_OK) return WALK_NAMES[status]!
  const address = hex(outputOf(space.format, hi, lo))
  if (kind === ENTRY_TABLE) return `table at ${address}`
  return kind === ENTRY_LEAF ? `leaf, page at ${address}` : 'not a leaf'
}
