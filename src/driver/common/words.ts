/** Structures in memory as drivers read and write them: aligned 64-bit words, each read and written as a whole. */
import type { WordMemory } from '../../base/memory.ts'
import type { AtomStore } from './hitless.ts'

/** Copies `count` 32-bit words out. The structure lies within one page. */
export function loadWords(memory: WordMemory, pa: number, count: number): Uint32Array {
  const index = memory.index(pa)
  if (index < 0) throw new RangeError(`no memory answers at 0x${pa.toString(16)}`)
  return Uint32Array.from(memory.words.subarray(index, index + count))
}

/** Copies words in. */
export function storeWords(memory: WordMemory, pa: number, words: Uint32Array): void {
  const index = memory.indexForWrite(pa)
  if (index < 0) throw new RangeError(`no memory answers at 0x${pa.toString(16)}`)
  memory.words.set(words, index)
}

/** A part of the entry at `pa`, as a whole. */
export function storeAtom(memory: WordMemory, pa: number, { at, words }: AtomStore): void {
  storeWords(memory, pa + at * 4, words)
}

/** What the allocator takes: a power of two of at least a page. */
export function blockSize(bytes: number): number {
  return Math.max(4096, 2 ** Math.ceil(Math.log2(bytes)))
}
