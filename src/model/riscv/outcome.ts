/** What came of a request, in the words that all models share. */
import { type Outcome, PR, PW, PX, type Transaction, UR, UW, UX } from '../../base/types.ts'
import { u64 } from '../../base/u64.ts'
import { WALK_NAMES } from '../../format/pt/walker.ts'
import { CONTEXT_RULES } from '../../format/riscv/check.ts'
import { CAUSES } from '../../format/riscv/records.ts'
import { completionOf } from './ats.ts'
import { REQUEST_ATS, REQUEST_EXECUTE, REQUEST_PRIVILEGED, RESPONSE_ABORT, RESPONSE_SUCCESS } from './request.ts'
import type { Translator } from './translate.ts'

/** The outcome of a translator's last request. `record`: what was written to the fault queue, null when nothing was. */
export function outcomeOf(translator: Translator, transaction: Transaction, record: readonly bigint[] | null): Outcome {
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
    device: transaction.device,
    pasid: transaction.pasid ?? null,
    iova: transaction.iova,
    access: transaction.access,
    privileged: transaction.privileged === true,
    stage: result.stage === 1 || result.stage === 2 ? result.stage : null,
    level: walked && failing.readAny ? failing.depth : null,
    ipa: isGuestPageFault(result.cause) ? u64(result.iotval2Hi, result.iotval2Lo & ~3) : null,
    ...deciding(translator),
    why: whyOf(translator),
    record,
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

/** The rule that decided, in words with the specification's section. */
function whyOf(translator: Translator): string {
  const { result, walker, directory } = translator
  switch (result.cause) {
    case 1:
    case 5:
    case 7:
      if (result.stage === 0) return 'an interrupt file gives no right to execute ("Process to translate addresses of MSIs")'
      return 'a page table entry cannot be accessed: nothing answers there'
    case 256:
      return 'ddtp.iommu_mode is Off ("Process to translate an IOVA", step 1)'
    case 257:
    case 268:
      return 'the entry of the device directory cannot be read ("Process to locate the Device-context")'
    case 258:
      return 'V is 0 in the device directory ("Process to locate the Device-context")'
    case 259:
      return directory.rule === 0
        ? 'reserved bits are set in a DDT entry ("Process to locate the Device-context", step 6)'
        : `${CONTEXT_RULES[directory.rule]} ("Device-context configuration checks")`
    case 260:
      return 'this type of transaction, process_id, device_id or privilege is not allowed ("Process to translate an IOVA", steps 2 to 15)'
    case 261:
    case 270:
      return 'the MSI page table entry cannot be read ("Process to translate addresses of MSIs")'
    case 262:
      return 'V is 0 in the MSI page table entry ("Process to translate addresses of MSIs")'
    case 263:
      return 'the MSI page table entry has a reserved mode or reserved bits ("Process to translate addresses of MSIs")'
    case 265:
    case 269:
      return 'the entry of the process directory cannot be read ("Process to locate the Process-context")'
    case 266:
      return 'V is 0 in the process directory ("Process to locate the Process-context")'
    case 267:
      return directory.rule === 0
        ? 'reserved bits are set in a PDT entry ("Process to locate the Process-context", step 8)'
        : `${CONTEXT_RULES[directory.rule]} ("Process-context configuration checks")`
    default: {
      const failing = result.stage === 2 ? (walker.outer ?? walker) : walker
      const reason = WALK_NAMES[failing.status as keyof typeof WALK_NAMES] ?? 'refused'
      return `${result.stage === 2 ? 'second' : 'first'} stage: ${String(reason)}${walker.updateRefused && result.stage === 2 ? ' (to set A or D of a first-stage entry)' : ''}`
    }
  }
}
