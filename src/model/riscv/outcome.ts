/** What came of a request, in the words that all models share. */

import { wordsToU64 } from '../../base/layout.ts'
import { type Outcome, PR, PW, PX, type Transaction, UR, UW, UX } from '../../base/types.ts'
import { u64 } from '../../base/u64.ts'
import { WALK_NAMES } from '../../format/pt/walker.ts'
import { CONTEXT_RULES } from '../../format/riscv/check.ts'
import { CAUSES } from '../../format/riscv/records.ts'
import { askedBy } from '../common/request.ts'
import { completionOf } from './ats.ts'
import { REQUEST_ATS, REQUEST_EXECUTE, REQUEST_PRIVILEGED, RESPONSE_ABORT, RESPONSE_SUCCESS } from './request.ts'
import type { Translator } from './translate.ts'

/** The outcome of a translator's last request. */
export function outcomeOf(translator: Translator, transaction: Transaction): Outcome {
  const { result } = translator
  const ats = transaction.kind === 'ats-request'
  if (result.cause === 0)
    return {
      ok: true,
      pa: u64(result.hi, result.lo),
      sizeLog2: result.sizeLog2,
      rights: ats ? granted(translator, transaction) : result.rights,
      cached: result.cached,
    }
  const { walker } = translator
  const walked = result.stage !== 0
  const failing = result.stage === 2 ? (walker.outer ?? walker) : walker
  const response =
    result.response === RESPONSE_SUCCESS
      ? 'no-access'
      : result.response === RESPONSE_ABORT
        ? 'completer-abort'
        : ats
          ? 'unsupported-request'
          : 'abort'
  return {
    ok: false,
    code: result.cause,
    name: CAUSES[result.cause]!,
    ...askedBy(transaction),
    stage: result.stage === 1 || result.stage === 2 ? result.stage : null,
    level: walked && failing.readAny ? failing.depth : null,
    ipa: isGuestPageFault(result.cause) ? u64(result.iotval2Hi, result.iotval2Lo & ~3) : null,
    ...deciding(translator),
    why: whyOf(translator),
    record: result.recorded ? wordsToU64(result.record) : null,
    response,
  }
}

function isGuestPageFault(cause: number): boolean {
  return cause === 20 || cause === 21 || cause === 23
}

/** The entry that decided, where one was read. */
function deciding(translator: Translator): { entryAddress: bigint | null; entry: bigint | null } {
  const { result, walker, directory } = translator
  if (result.stage !== 0) {
    const failing = result.stage === 2 ? (walker.outer ?? walker) : walker
    if (!failing.readAny) return { entryAddress: null, entry: null }
    return { entryAddress: u64(failing.addressHi, failing.addressLo), entry: u64(failing.hi, failing.lo) }
  }
  const { cause } = result
  if (cause === 257 || cause === 258 || cause === 259 || (cause >= 265 && cause <= 269)) {
    const last = directory.reads - 1
    if (last < 0) return { entryAddress: null, entry: null }
    return { entryAddress: BigInt(directory.address[last]!), entry: null }
  }
  if (cause >= 261 && cause <= 270) {
    const { entry, at } = translator.stages.msiTarget
    return { entryAddress: BigInt(at[0]!), entry: u64(entry[1]!, entry[0]!) }
  }
  return { entryAddress: null, entry: null }
}

/** The rights that an ATS completion grants. */
function granted(translator: Translator, transaction: Transaction): number {
  const privileged = transaction.privileged === true && transaction.pasid !== undefined
  const flags = REQUEST_ATS | (privileged ? REQUEST_PRIVILEGED : 0) | (transaction.access === 'execute' ? REQUEST_EXECUTE : 0)
  const completion = completionOf(translator.result, transaction.pasid ?? -1, flags)
  const [read, write, execute] = privileged ? [PR, PW, PX] : [UR, UW, UX]
  return (completion.read ? read : 0) | (completion.write ? write : 0) | (completion.execute ? execute : 0)
}

const LOCATE_DC = '("Process to locate the Device-context")'
const LOCATE_PC = '("Process to locate the Process-context")'
const MSIS = '("Process to translate addresses of MSIs")'

/** What decided, by cause, where that is all there is to say. */
const REASONS: Readonly<Record<number, string>> = {
  256: 'ddtp.iommu_mode is Off ("Process to translate an IOVA", step 1)',
  257: `nothing answers at the entry of the device directory ${LOCATE_DC}`,
  258: `V is 0 in the device directory ${LOCATE_DC}`,
  261: `nothing answers at the MSI page table entry ${MSIS}`,
  262: `V is 0 in the MSI page table entry ${MSIS}`,
  263: `the MSI page table entry has a reserved mode or reserved bits ${MSIS}`,
  265: `nothing answers at the entry of the process directory ${LOCATE_PC}`,
  266: `V is 0 in the process directory ${LOCATE_PC}`,
  268: `corrupt data at the entry of the device directory ${LOCATE_DC}`,
  269: `corrupt data at the entry of the process directory ${LOCATE_PC}`,
  270: `corrupt data at the MSI page table entry ${MSIS}`,
}

/** The rule that decided, in words with the specification's section. */
function whyOf(translator: Translator): string {
  const { result, walker, directory } = translator
  const known = REASONS[result.cause]
  if (known !== undefined) return known
  if (result.cause === 260) return `${result.rule} ("Process to translate an IOVA")`
  if (result.cause === 259 || result.cause === 267) {
    const [entry, where, checks] = result.cause === 259 ? ['DDT', LOCATE_DC, 'Device'] : ['PDT', LOCATE_PC, 'Process']
    if (directory.rule === 0) return `reserved bits are set in a ${entry} entry ${where}`
    return `${CONTEXT_RULES[directory.rule]} ("${checks}-context configuration checks")`
  }
  if (result.stage === 0) return `an interrupt file gives no right to execute ${MSIS}`
  const first = `first stage: ${WALK_NAMES[walker.status]}`
  if (result.stage === 1) return first
  const second = `second stage: ${WALK_NAMES[(walker.outer ?? walker).status]}`
  // Bits 1:0 of iotval2: an implicit access, and a write.
  const update = isGuestPageFault(result.cause) && (result.iotval2Lo & 3) === 3
  return update ? `${second}, to set A or D of a first-stage entry` : second
}
