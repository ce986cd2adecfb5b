/** Tables that a text lists, as a small memory: what the readers of such texts have in common. */
import { hi32, lo32 } from '../base/u64.ts'
import type { RamRange } from '../memory/physical.ts'
import type { Dump } from './dump/contract.ts'
import { InputError } from './errors.ts'
import type { RegisterValue } from './registers.ts'

/** Tables of one IOMMU. */
export interface UnitTables {
  /** `dmar0`, `iommu0`. */
  readonly name: string
  readonly kind: 'vtd' | 'amdvi'
  /** The register that says where they are. */
  readonly pointer: RegisterValue
  /** Source-ids of the devices that have an entry → their PCI address. */
  readonly devices: ReadonlyMap<number, { readonly name: string }>
  readonly dump: Dump
}

/** Tables whose addresses a text leaves out are put from here on: no machine has memory there. */
export const PLACED = 2 ** 51
/** Text beyond this makes too many pages. */
const MOST_PAGES = 1 << 16

/** `00:02.0`. */
export function addressOf(source: number): string {
  const two = (value: number) => value.toString(16).padStart(2, '0')
  return `${two(source >>> 8)}:${two((source >>> 3) & 31)}.${source & 7}`
}

export class Pages {
  readonly #pages = new Map<number, Int32Array>()
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  /** The page at an address, of zeros until something is written. */
  add(address: number): Int32Array {
    const frame = Math.floor(address / 4096)
    let page = this.#pages.get(frame)
    if (page === undefined) {
      if (this.#pages.size >= MOST_PAGES) throw new InputError(this.#path, null, `its tables take more than ${MOST_PAGES} pages`)
      page = new Int32Array(1024)
      this.#pages.set(frame, page)
    }
    return page
  }

  write(address: number, value: bigint): void {
    const page = this.add(address)
    const word = (address % 4096) / 4
    page[word] = lo32(value)
    page[word + 1] = hi32(value)
  }

  dump(format: string, remarks: readonly string[]): Dump {
    const pages = this.#pages
    return {
      ...{ name: this.#path, format, machine: null, vmcoreinfo: null, notes: [], remarks, leavesOutZeros: false, close() {} },
      *ranges(): Iterable<RamRange> {
        for (const frame of [...pages.keys()].sort((a, b) => a - b)) yield { start: frame * 4096, end: frame * 4096 + 4096 }
      },
      load(frame, words, at) {
        const page = pages.get(frame)
        if (page !== undefined) words.set(page, at)
        return page !== undefined
      },
    }
  }
}
