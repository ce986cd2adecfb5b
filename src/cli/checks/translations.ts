/** Expectations about single addresses: where an access must go, what is permitted there, what must fault. */
import { hex, size } from '../../base/hex.ts'
import { type Access, type Outcome, rightsText, type Transaction, UR, UW, UX } from '../../base/types.ts'
import type { ExpectedTranslation, KernelMapping, ProvokedFault } from '../../node/index.ts'
import type { CheckList, Failure } from './contract.ts'

/** The machine as these checks see it. */
export interface Translating {
  /** The device id that an item is about. @throws CliError when it names none. */
  deviceOf(item: { readonly device?: string | undefined; readonly devid?: number | undefined }): number
  /** Answer of the hardware model, without lasting effect. */
  ask(transaction: Transaction): Outcome
  /** The walk in words. */
  explain(transaction: Transaction): string
  /** Permissions that the file's `perm` speaks of: it says nothing of execution where `x` is missing here. */
  readonly letters: string
}

const ACCESS: Record<string, Access> = { r: 'read', w: 'write', x: 'execute' }
const RIGHT: Record<string, number> = { r: UR, w: UW, x: UX }

/** What is expected at one address. */
interface Point {
  readonly item: string
  readonly device: number
  readonly pasid: number | null
  readonly iova: bigint
  readonly pa: bigint
  /** Permissions of the tables; null: not told. */
  readonly perm: string | null
  readonly access: string | null
  readonly pageSize: number | null
  /** The page may also be smaller than `pageSize`. */
  readonly orSmaller?: boolean
}

/** Every access of `letters` is tried: those that `perm` has must go to `pa`, the others must fault. */
function checkPoint(machine: Translating, point: Point): Failure | null {
  const { perm, access } = point
  const permitted = perm ?? access ?? 'r'
  const tried = perm === null ? permitted : machine.letters
  for (const letter of tried) {
    const transaction = transactionOf(point, ACCESS[letter]!)
    const outcome = machine.ask(transaction)
    const wanted = permitted.includes(letter) || letter === access
    const failure = compare(point, wanted, letter, outcome)
    if (failure !== null) return { ...failure, item: point.item, explain: () => machine.explain(transaction) }
  }
  return null
}

function transactionOf(point: Pick<Point, 'device' | 'pasid' | 'iova'>, access: Access): Transaction {
  const { device, pasid, iova } = point
  return pasid === null ? { device, iova, access } : { device, pasid, iova, access }
}

function compare(point: Point, wanted: boolean, letter: string, outcome: Outcome): Omit<Failure, 'item' | 'explain'> | null {
  const access = ACCESS[letter]!
  if (!wanted) {
    if (!outcome.ok) return null
    return {
      kind: 'wrong permissions',
      expected: `${access} not permitted (permissions ${point.perm})`,
      actual: `goes to ${hex(outcome.pa)} (${rightsText(outcome.rights)})`,
    }
  }
  const expected = `${access} goes to ${hex(point.pa)}`
  if (!outcome.ok) return { kind: `faults with ${outcome.name}`, expected, actual: `${outcome.name}: ${outcome.why}` }
  if (outcome.pa !== point.pa) return { kind: 'wrong address', expected, actual: `goes to ${hex(outcome.pa)}` }
  const bytes = 2 ** outcome.sizeLog2
  if (point.pageSize !== null && bytes !== point.pageSize && !(point.orSmaller === true && bytes < point.pageSize))
    return {
      kind: 'wrong page size',
      expected: `a page of ${size(point.pageSize)}`,
      actual: size(1n << BigInt(outcome.sizeLog2)),
    }
  if (point.perm !== null && (outcome.rights & RIGHT[letter]!) === 0)
    return { kind: 'wrong permissions', expected: `permissions ${point.perm}`, actual: rightsText(outcome.rights) }
  return null
}

function itemName(
  list: string,
  index: number,
  device: string | undefined,
  pasid: number | null | undefined,
  iova: bigint,
): string {
  return `${list}[${index}] (${device ?? 'device'}${typeof pasid === 'number' ? `, PASID ${pasid}` : ''}, ${hex(iova)})`
}

/** Lists of single translations: `expected`, `guest_dma`, `sva_pages`, `ats_translations`. */
export function translationList(machine: Translating, name: string, items: readonly ExpectedTranslation[]): CheckList {
  return {
    name,
    count: items.length,
    check(index) {
      const given = items[index]!
      return checkPoint(machine, {
        item: itemName(name, index, given.device, given.pasid, given.iova),
        device: machine.deviceOf(given),
        pasid: given.pasid ?? null,
        iova: given.iova,
        pa: given.pa,
        perm: given.perm ?? null,
        access: given.access ?? null,
        pageSize: given.page_size ?? null,
      })
    },
  }
}

/** Pages that DMA into coherent memory told, by device, PASID and address. */
function coherentPages(machine: Translating, dma: readonly ExpectedTranslation[]): ReadonlyMap<string, bigint> {
  const pages = dma.filter(({ mapping }) => mapping === 'coherent')
  return new Map(pages.map((item) => [pageKey(machine.deviceOf(item), item.pasid, item.iova), item.pa - (item.iova % 4096n)]))
}

const pageKey = (device: number, pasid: number | null | undefined, iova: bigint) => `${device}/${pasid ?? ''}/${iova >> 12n}`

/**
 * `kernel_mappings`: first and last byte. A mapping is contiguous in physical memory, but for coherent memory of several pages, which Linux
 * gathers in parts (here 4 pages and 1): where a device's own DMA (`guest_dma`) went to the last page, that is what it must be.
 */
export function mappingList(
  machine: Translating,
  name: string,
  items: readonly KernelMapping[],
  dma: readonly ExpectedTranslation[] = [],
): CheckList {
  const coherent = coherentPages(machine, dma)
  return {
    name,
    count: items.length,
    check(index) {
      const given = items[index]!
      const first = {
        item: itemName(name, index, given.device, given.pasid, given.iova),
        device: machine.deviceOf(given),
        pasid: given.pasid ?? null,
        iova: given.iova,
        pa: given.pa,
        perm: given.pte_perm ?? null,
        access: null,
        pageSize: given.page_size ?? null,
      }
      const iova = given.iova + given.size - 1n
      const told = given.how === 'coherent' ? coherent.get(pageKey(first.device, given.pasid, iova)) : undefined
      const pa = told === undefined ? given.pa + given.size - 1n : told + (iova % 4096n)
      // The page size is that of the first byte. What does not fill pages of that size may end with a smaller one.
      const orSmaller = first.pageSize !== null && given.size % BigInt(first.pageSize) !== 0n
      const last = { ...first, item: `${first.item}, last byte`, iova, pa, orSmaller }
      return checkPoint(machine, first) ?? checkPoint(machine, last)
    },
  }
}

/**
 * `faults_provoked`. Each must fault, unless an independent walk of the same tables (`walk`) says that this access is permitted there:
 * then it must go to that address. `permitted` counts those.
 */
export function faultList(
  machine: Translating,
  name: string,
  items: readonly ProvokedFault[],
): CheckList & { readonly permitted: readonly string[] } {
  const permitted: string[] = []
  return {
    name,
    count: items.length,
    permitted,
    check(index) {
      const given = items[index]!
      const item = `${itemName(name, index, given.device, given.pasid, given.iova)}${given.what === undefined ? '' : ` ${given.what}`}`
      const letter = given.access ?? 'r'
      const point = { item, device: machine.deviceOf(given), pasid: given.pasid ?? null, iova: given.iova }
      const transaction = transactionOf(point, ACCESS[letter]!)
      if (given.walk?.perm?.includes(letter)) {
        permitted.push(item)
        const { pa, perm, page_size: pageSize } = given.walk
        return checkPoint(machine, { ...point, pa, perm, access: letter, pageSize: pageSize ?? null })
      }
      const outcome = machine.ask(transaction)
      if (!outcome.ok) return null
      return {
        kind: 'does not fault',
        item,
        expected: `${ACCESS[letter]} faults`,
        actual: `goes to ${hex(outcome.pa)} (${rightsText(outcome.rights)})`,
        explain: () => machine.explain(transaction),
      }
    },
  }
}
