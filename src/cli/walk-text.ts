/** A translation, step by step, for people. */

import type { TranslationStep } from '../base/explain.ts'
import { hex, hexPad, size } from '../base/hex.ts'
import type { DescribedField } from '../base/layout.ts'
import { type Outcome, rightsText, type Transaction } from '../base/types.ts'
import type { Readable } from './architectures/contract.ts'
import { type Painter, wrapped } from './paint.ts'

type Describing = Pick<Readable, 'describeRecord'>

/** What is asked, what was answered, and why. */
export interface Explained {
  readonly transaction: Transaction
  readonly deviceName: string
  readonly outcome: Outcome
  readonly steps: readonly TranslationStep[]
}

/** `0000:00:06.0 (0x30), PASID 5, write 0x1000`. */
export function transactionText({ transaction, deviceName }: Pick<Explained, 'transaction' | 'deviceName'>): string {
  const { device, pasid, iova, access, privileged, kind } = transaction
  const id = deviceName === hex(device) ? '' : ` (${hex(device)})`
  const how = kind === undefined || kind === 'untranslated' ? '' : ` ${kind}`
  return `${deviceName}${id}, ${pasid === undefined ? 'no PASID' : `PASID ${pasid}`}, ${privileged ? 'privileged ' : ''}${access} ${hex(iova)}${how}`
}

/** The whole explanation. */
export function explainedText(explained: Explained, architecture: Describing, paint: Painter): string {
  const lines = [paint.bold(transactionText(explained)), '']
  explained.steps.forEach((step, index) => {
    lines.push(...stepLines(step, index + 1, paint))
  })
  lines.push(...outcomeLines(explained, architecture, paint))
  return `${lines.join('\n')}\n`
}

function stepLines(step: TranslationStep, number: number, paint: Painter): string[] {
  const level = step.level === null ? '' : ` level ${step.level}`
  const where = step.address === null ? '' : ` at ${paint.address(hex(step.address))}`
  const lines = [`${String(number).padStart(2)}  ${paint.bold(step.structure)}${level}${where}`]
  if (step.words.length > 0) {
    // Trailing zero words say nothing.
    let used = step.words.length
    while (used > 1 && step.words[used - 1] === 0n) used--
    const words = step.words.slice(0, used).map((word) => hexPad(word, 16))
    lines.push(...wrapped(`${words.join(' ')}${used < step.words.length ? ' 0 …' : ''}`, 4, paint.dim))
  }
  const fields = fieldsText(step.fields)
  if (fields !== '') lines.push(...wrapped(fields, 4))
  lines.push(...wrapped(`→ ${step.decided}`, 4, paint.result), '')
  return lines
}

/** Fields that say something: those that are not zero. */
export function fieldsText(fields: readonly DescribedField[]): string {
  return fields
    .filter(({ value }) => BigInt(value) !== 0n)
    .map(
      ({ name, value, means }) =>
        `${name}=${typeof value === 'bigint' || value > 9 ? hex(value) : value}${means === null ? '' : ` (${means})`}`,
    )
    .join(', ')
}

function outcomeLines({ outcome, steps, transaction }: Explained, architecture: Describing, paint: Painter): string[] {
  if (outcome.ok) {
    const walked = steps.some(({ level }) => level !== null)
    // As numbers: they are addresses of two kinds.
    const pa: bigint = outcome.pa
    if (!walked && pa === transaction.iova && outcome.sizeLog2 > 12)
      return [paint.good(`goes to ${hex(pa)}, the same address: no page table is walked`)]
    const page = size(1n << BigInt(outcome.sizeLog2))
    return [paint.good(`goes to ${hex(outcome.pa)}, in a page of ${page}, permissions ${rightsText(outcome.rights)}`)]
  }
  const { name, code, stage, level, ipa, entryAddress, entry, why, response, record, stallTag } = outcome
  const place = [
    stage === null ? null : `stage ${stage}`,
    level === null ? null : `level ${level}`,
    entryAddress === null ? null : `entry at ${hex(entryAddress)}${entry === null ? '' : ` = ${hexPad(entry, 16)}`}`,
    ipa === null ? null : `intermediate address ${hex(ipa)}`,
  ].filter((part) => part !== null)
  const lines = [paint.bad(`faults: ${name} (${hex(code)})${place.length > 0 ? `, ${place.join(', ')}` : ''}`)]
  lines.push(...wrapped(why, 4))
  lines.push(`    the device sees: ${response}${stallTag === undefined ? '' : `, tag ${hex(stallTag)}`}`)
  if (record === null) return [...lines, '    the hardware records nothing']
  lines.push('    recorded as:')
  for (const word of record) lines.push(`      ${hexPad(word, 16)}`)
  const described = architecture.describeRecord(record)
  if (described !== null) lines.push(...wrapped(fieldsText(described.fields), 6))
  return lines
}
