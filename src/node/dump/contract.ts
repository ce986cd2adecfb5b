/** A dump: the memory of a machine in a file, whatever the file's format. */
import type { FrameSource, RamRange } from '../../memory/physical.ts'
import type { ElfNote } from './notes.ts'
import type { VmcoreInfo } from './vmcoreinfo.ts'

export interface Dump extends FrameSource {
  /** The file's name, for messages. */
  readonly name: string
  /** The format in words: `ELF core`, `kdump-compressed, flattened`. */
  readonly format: string
  /** e_machine of the CPU: 62 x86-64, 183 AArch64, 243 RISC-V. Null where the format does not tell. */
  readonly machine: number | null
  /** What the kernel that crashed says of itself; null when the dump holds no VMCOREINFO. */
  readonly vmcoreinfo: VmcoreInfo | null
  /** Notes of the dump, such as the registers of its CPUs. */
  readonly notes: readonly ElfNote[]
  /** What a reader of the picture should know: what was left out, that the dump is incomplete. */
  readonly remarks: readonly string[]
  /** Whether pages that are all zero were left out: one that is absent may be one of them. */
  readonly leavesOutZeros: boolean
  /** Addresses that the dump holds, in order; made as they are asked for, for there may be very many. */
  ranges(): Iterable<RamRange>
  /**
   * Copies frame `frame` into words[at …]; false when the dump does not hold it.
   * @throws InputError naming the offset where the file is damaged.
   */
  load(frame: number, words: Int32Array, at: number): boolean
  close(): void
}

/** Addresses stay below this: no architecture here has more physical address bits. */
export const ADDRESS_LIMIT = 2 ** 52

/** Bytes of a frame as a view on memory's words. */
export function frameBytes(words: Int32Array, at: number, from = 0, to = 4096): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset + at * 4 + from, to - from)
}
