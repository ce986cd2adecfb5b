/** Root and context tables, and the PASID directories of domains. Intel VT-d 4.1, sections 3.4 and 9.1 to 9.6. */
import { encode } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { IommError } from '../../core/error.ts'
import { CONTEXT_ENTRY_BYTES, SM_CONTEXT_ENTRY_BYTES } from '../../format/vtd/contexts.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY_BYTES } from '../../format/vtd/pasid.ts'
import { ROOT_ENTRY, ROOT_ENTRY_BYTES } from '../../format/vtd/root.ts'
import { RadixTable } from '../common/radix-table.ts'

/** Source-ids have 16 bits: bus, device, function. */
const SOURCE_LIMIT = 0x10000

/** The root table and its context tables: one of 256 entries for each bus, or (scalable mode) two of 128. */
export class RootTable {
  readonly #table: RadixTable

  constructor(memory: WordMemory, pages: PageAllocator, scalable: boolean) {
    // Both halves of a scalable-mode root entry look like a root entry's first half.
    const pointer = (table: number) => encode(ROOT_ENTRY, { P: 1, CTP: BigInt(table) }).slice(0, 2)
    this.#table = new RadixTable(
      memory,
      pages,
      scalable
        ? { bits: [9, 7], entryBytes: SM_CONTEXT_ENTRY_BYTES, pointer }
        : { bits: [8, 8], entryBytes: CONTEXT_ENTRY_BYTES, pointer, pointerBytes: ROOT_ENTRY_BYTES },
    )
  }

  get base(): number {
    return this.#table.base
  }

  /** Where the context entry lies; its table is made when there is none. `grew`: it was. */
  make(source: number): { entry: number; grew: boolean } {
    if (source >= SOURCE_LIMIT || source < 0)
      throw new IommError(
        'BadArgument',
        `device 0x${source.toString(16)} is not a source-id: bus, device and function have 16 bits, and a segment has IOMMUs of its own`,
      )
    return this.#table.make(source)
  }
}

/** log2 of the PASIDs in a table, and of the entries of the smallest directory. */
const TABLE_BITS = 6
const LEAST_DIRECTORY_BITS = 7

/** A domain's PASID directory, and its PASID tables. */
export class PasidDirectory extends RadixTable {
  /** @param bits of PASIDs, 20 at most; a directory has 2^7 entries at least. */
  constructor(memory: WordMemory, pages: PageAllocator, bits: number) {
    super(memory, pages, {
      bits: [Math.max(bits - TABLE_BITS, LEAST_DIRECTORY_BITS), TABLE_BITS],
      entryBytes: PASID_ENTRY_BYTES,
      pointer: (table) => encode(PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: BigInt(table) }),
    })
  }

  /** Scalable-mode context entry, PDTS. */
  get pdts(): number {
    return this.bits - TABLE_BITS - LEAST_DIRECTORY_BITS
  }
}
