/**
 * Tables in the text of debug files, as a small memory. Linux, drivers/iommu/intel/debugfs.c: `dmar_translation_struct` has a line for each
 * present context entry, and for each PASID of it, with the root entry; `domain_translation_struct` a line for each page that a device
 * reaches, with the entries on the way to it. Words are put where hardware reads them; what the text leaves out is absent.
 */
import { hex } from '../base/hex.ts'
import { REG, TTM_LEGACY, TTM_SCALABLE } from '../format/vtd/registers.ts'
import { deviceTableUnits, isDeviceTableText } from './device-table-text.ts'
import { InputError } from './errors.ts'
import { addressOf, Pages, PLACED, type UnitTables } from './text-pages.ts'

/** `IOMMU dmar0: Root Table Address: 0x103027000`; kernels before 5.2 have no 0x. */
const UNIT = /^\s*IOMMU (\S+): Root Table Address: ?(?:0x)?([0-9a-f]{1,16})\s*$/i
/** `00:02.0 <root entry, high:low> <context entry> <PASID, or -1> <PASID entry, words 2:1:0>`. */
const ENTRY =
  /^\s*([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])\s+0x([0-9a-f]{16}):0x([0-9a-f]{16})\s+0x([0-9a-f]{16}):0x([0-9a-f]{16})(?:\s+(-?\d+)\s+0x([0-9a-f]{16}):0x([0-9a-f]{16}):0x([0-9a-f]{16}))?\s*$/i
/** Kernels before 5.2: ` Bus: 0 H: 0 L: 103028001`, then `  16   	00:02.0	102   	103029001`. */
const OLD_ROOT = /^\s*Bus: (\d{1,3}) H: ([0-9a-f]{1,16}) L: ([0-9a-f]{1,16})\s*$/i
const OLD_ENTRY = /^\s*\d{1,3}\s+([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])\s+([0-9a-f]{1,16})\s+([0-9a-f]{1,16})\s*$/i
/** `Device 0000:00:02.0 @0x2164000`, with or without `with pasid 1` before the address. */
const DOMAIN = /^\s*Device \S+ (?:with pasid [0-9a-f]+ )?@0x([0-9a-f]{1,16})\s*$/i
/** `0x00000000fffe0 | <PML5E> <PML4E> <PDPE> <PDE> <PTE>`. */
const PAGE =
  /^\s*0x([0-9a-f]{1,16}) \|\s*0x([0-9a-f]{16})\s+0x([0-9a-f]{16})\s+0x([0-9a-f]{16})\s+0x([0-9a-f]{16})\s+0x([0-9a-f]{16})\s*$/i

const ADDRESS = 0xfffff_ffff_f000n

/** Whether a text is of this kind. */
export function isTranslationText(text: string): boolean {
  return isDeviceTableText(text) || text.split('\n').some((line) => UNIT.test(line) || DOMAIN.test(line))
}

/** What is said of one IOMMU, as it is read. */
class Unit {
  readonly name: string
  readonly root: bigint
  readonly pages: Pages
  readonly devices = new Map<number, { name: string }>()
  scalable = false
  /** A 64-entry PASID table by the address of its directory entry. */
  readonly #tables = new Map<number, number>()

  constructor(path: string, name: string, root: bigint) {
    this.name = name
    this.root = root & ADDRESS
    this.pages = new Pages(path)
    this.rootEntry(0, 0n, 0n)
  }

  rootEntry(bus: number, high: bigint, low: bigint): void {
    this.pages.write(Number(this.root) + bus * 16, low)
    this.pages.write(Number(this.root) + bus * 16 + 8, high)
  }

  /** Puts a context entry where the root entry says. */
  entry(
    source: number,
    root: readonly [bigint, bigint],
    [high, low]: readonly [bigint, bigint],
    pasid: bigint[] | null,
    number: number,
  ): void {
    if (pasid !== null) this.scalable = true
    const devfn = source & 0xff
    const upper = this.scalable && devfn > 127
    const table = Number(root[upper ? 0 : 1] & ADDRESS)
    const address = table + (this.scalable ? (devfn & 127) * 32 : devfn * 16)
    this.pages.write(address, low)
    this.pages.write(address + 8, high)
    this.devices.set(source, { name: addressOf(source) })
    if (pasid === null) return
    // All that is present is listed: the rest of the directory, of 2^(PDTS + 7) entries, is zeros.
    const directory = Number(low & ADDRESS)
    const bytes = 2 ** (Number((low >> 9n) & 7n) + 10)
    for (let page = 0; page < bytes; page += 4096) this.pages.add(directory + page)
    this.#pasid(directory, number, pasid)
  }

  #pasid(directory: number, pasid: number, words: readonly bigint[]): void {
    const at = directory + (pasid >>> 6) * 8
    let table = this.#tables.get(at)
    if (table === undefined) {
      table = PLACED + this.#tables.size * 4096
      this.#tables.set(at, table)
      this.pages.write(at, BigInt(table) | 1n)
    }
    words.forEach((word, index) => {
      this.pages.write(table + (pasid & 63) * 64 + index * 8, word)
    })
  }

  done(): UnitTables {
    const remarks = ['read from the text of debug files: what they do not list is not there']
    if (this.#tables.size > 0)
      remarks.push(
        `the text does not say where PASID tables lie: they are shown from ${hex(PLACED)} on, and of each entry only its lower 24 bytes`,
      )
    if (this.scalable) remarks.push('of each context entry only the lower 16 bytes are listed; the upper 16 are read as zero')
    const { name, root, scalable, devices } = this
    const value = root | (BigInt(scalable ? TTM_SCALABLE : TTM_LEGACY) << 10n)
    const dump = this.pages.dump('tables in the text of debug files', remarks)
    return { name, kind: 'vtd', pointer: { offset: REG.RTADDR, size: 8, value }, devices, dump }
  }
}

const word = (text: string | undefined) => BigInt(`0x${text}`)
const sourceOf = (bus: string, device: string, fn: string) =>
  (Number.parseInt(bus, 16) << 8) | ((Number.parseInt(device, 16) & 31) << 3) | Number(fn)

/**
 * Reads the text of one such file, or of several in a row.
 * @throws InputError when no IOMMU is named in it, or it is too large.
 */
export function parseTranslationText(path: string, text: string): UnitTables[] {
  if (isDeviceTableText(text)) return deviceTableUnits(path, text)
  const units: Unit[] = []
  const oldRoots = new Map<number, readonly [bigint, bigint]>()
  const domains: [bigint, bigint[]][] = []
  let domain: bigint | null = null
  let unit: Unit | null = null
  for (const line of text.split('\n')) {
    const page = domain === null ? null : PAGE.exec(line)
    if (page !== null) {
      domains.push([domain!, page.slice(1).map(word)])
      continue
    }
    const named = UNIT.exec(line)
    if (named !== null) {
      unit = new Unit(path, named[1]!, word(named[2]))
      units.push(unit)
      oldRoots.clear()
      continue
    }
    const table = DOMAIN.exec(line)
    if (table !== null) domain = word(table[1]) & ADDRESS
    if (unit !== null) readEntry(unit, oldRoots, line)
  }
  if (units.length === 0)
    throw new InputError(
      path,
      null,
      'has page tables of devices, and not which entry leads to them: give the text of dmar_translation_struct before it',
    )
  // Page tables are the same whichever IOMMU walks them.
  for (const { pages } of units) for (const [root, words] of domains) writePath(pages, root, words)
  return units.map((one) => one.done())
}

function readEntry(unit: Unit, oldRoots: Map<number, readonly [bigint, bigint]>, line: string): void {
  const entry = ENTRY.exec(line)
  if (entry !== null) {
    const [, bus, device, fn, rootHigh, rootLow, high, low, pasid, ...words] = entry
    const root = [word(rootHigh), word(rootLow)] as const
    unit.rootEntry(Number.parseInt(bus!, 16), ...root)
    const number = Number(pasid ?? -1)
    // Words are printed the highest first. Legacy entries have PASID -1.
    const given = number < 0 || number >= 2 ** 20 ? null : words.map(word).reverse()
    unit.entry(sourceOf(bus!, device!, fn!), root, [word(high), word(low)], given, number)
    return
  }
  const oldRoot = OLD_ROOT.exec(line)
  if (oldRoot !== null && Number(oldRoot[1]) < 256) {
    const root = [word(oldRoot[2]), word(oldRoot[3])] as const
    oldRoots.set(Number(oldRoot[1]), root)
    unit.rootEntry(Number(oldRoot[1]), ...root)
    return
  }
  const old = OLD_ENTRY.exec(line)
  const root = old === null ? undefined : oldRoots.get(Number.parseInt(old[1]!, 16))
  if (old !== null && root !== undefined)
    unit.entry(sourceOf(old[1]!, old[2]!, old[3]!), root, [word(old[4]), word(old[5])], null, -1)
}

/** The entries on the way to a page: those above the top table and below the leaf are 0. */
function writePath(pages: Pages, root: bigint, [pfn, ...entries]: bigint[]): void {
  let table = root
  entries.forEach((entry, index) => {
    if (entry === 0n) return
    const shift = BigInt(9 * (entries.length - 1 - index))
    pages.write(Number(table) + Number((pfn! >> shift) & 511n) * 8, entry)
    table = entry & ADDRESS
  })
}
