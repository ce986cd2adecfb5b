/** Steps of a translation in words, as all models tell them. */
import type { TranslationStep } from '../../base/explain.ts'
import { hex, size } from '../../base/hex.ts'
import { describe, type Layout, type Words, wordsToU64 } from '../../base/layout.ts'
import { rightsText } from '../../base/types.ts'
import { u64 } from '../../base/u64.ts'
import { describeEntry } from '../../format/pt/describe.ts'
import { ENTRY_TABLE, leafLog2, outputOf } from '../../format/pt/entry.ts'
import { levelOf, type PtSpace } from '../../format/pt/format.ts'
import type { Walker } from '../../format/pt/walker.ts'

/** A register, or an entry of a device or PASID table. @param address null for a register. */
export function structureStep(
  structure: string,
  layout: Layout,
  address: number | null,
  words: Words,
  decided: string,
): TranslationStep {
  return {
    structure,
    stage: 0,
    level: null,
    address: address === null ? null : BigInt(address),
    words: wordsToU64(words, 0, layout.bits / 32),
    fields: describe(layout, words),
    decided,
  }
}

/** A step in which nothing was read. @param address where something was to be; -1: nowhere. */
export function noteStep(structure: string, decided: string, address = -1): TranslationStep {
  const at = address < 0 ? null : BigInt(address)
  return { structure, stage: 0, level: null, address: at, words: [], fields: [], decided }
}

/** A page-table entry as a walk's observer sees it. */
export function entryStep(
  stage: 1 | 2,
  { format }: PtSpace,
  depth: number,
  pa: number,
  hi: number,
  lo: number,
  kind: number,
  decided: string,
): TranslationStep {
  return {
    structure: format.name,
    stage,
    level: levelOf(format, depth),
    address: BigInt(pa),
    words: [u64(hi, lo)],
    fields: describeEntry(format, kind, depth, hi, lo),
    decided,
  }
}

/**
 * Where an entry leads that a walk followed: `table at 0x1000`, `page of 4 KiB at 0x2000, rw-`.
 * @param rights what the tables above leave of the leaf's.
 * @param between what addresses between two stages are called; `leaf` what a leaf is called.
 */
export function leadsTo(
  { format, stage2 }: PtSpace,
  depth: number,
  hi: number,
  lo: number,
  kind: number,
  rights: number,
  between = 'guest physical',
  leaf = 'page',
): string {
  const output = outputOf(format, hi, lo)
  const address = (value: number) => (stage2 === null ? hex(value) : `${between} ${hex(value)}`)
  if (kind === ENTRY_TABLE) return `table at ${address(output)}`
  const cover = 2 ** leafLog2(format, depth, hi, lo)
  return `${leaf} of ${size(cover)} at ${address(output - (output % cover))}, ${rightsText(rights)}`
}

/** The rights that the walk of a stage has gathered. */
export function rightsOf(walker: Walker | null, stage: number): number {
  return (stage === 2 ? walker?.outer?.rights : walker?.rights) ?? 0
}
