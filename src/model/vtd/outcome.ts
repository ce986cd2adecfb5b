/** What came of a request, in the words that all models share. */
import { wordsToU64 } from '../../base/layout.ts'
import type { Fault, Outcome, Transaction } from '../../base/types.ts'
import { u64 } from '../../base/u64.ts'
import { levelOf } from '../../format/pt/format.ts'
import { WALK_NAMES, WALK_OK } from '../../format/pt/walker.ts'
import { ENTRY_RULES } from '../../format/vtd/check.ts'
import { faultReason } from '../../format/vtd/faults.ts'
import { askedBy, translationOf } from '../common/request.ts'
import { ANSWER_ABORT, ANSWER_NO_ACCESS, ANSWER_UNSUPPORTED } from './request.ts'
import type { Translator } from './translate.ts'

/** The outcome of a translator's last request. */
export function outcomeOf(translator: Translator, transaction: Transaction): Outcome {
  const { result } = translator
  if (!result.refused) {
    const translation = translationOf(result)
    return { ...translation, rights: translation.rights & translator.usableRights }
  }
  const reason = faultReason(result.reason)
  return {
    ok: false,
    code: result.reason,
    name: reason?.name ?? (result.reason === 0 ? 'refused' : `${result.reason.toString(16)}h`),
    ...askedBy(transaction),
    ...deciding(translator),
    why: whyOf(translator),
    record: result.recorded ? wordsToU64(result.record) : null,
    response: answerName(result.answer),
  }
}

function answerName(answer: number): Fault['response'] {
  switch (answer) {
    case ANSWER_UNSUPPORTED:
      return 'unsupported-request'
    case ANSWER_ABORT:
      return 'completer-abort'
    case ANSWER_NO_ACCESS:
      return 'no-access'
    default:
      return 'abort'
  }
}

type Deciding = Pick<Fault, 'stage' | 'level' | 'ipa' | 'entryAddress' | 'entry'>
const NOTHING: Deciding = { stage: null, level: null, ipa: null, entryAddress: null, entry: null }

/** The entry that decided, where one was read. */
function deciding(translator: Translator): Deciding {
  const { result, tables } = translator
  if (result.stage !== 0) {
    const stage = result.stage === 2 ? 2 : 1
    const nested = translator.nested && stage === 2
    const ipa = nested ? u64(result.ipaHi, result.ipaLo) : null
    const walker = stage === 2 ? translator.walker.stage2 : translator.walker
    const space = stage === 2 ? translator.secondSpace : translator.firstSpace
    if (!result.walked || !walker.readAny) return { ...NOTHING, stage, ipa }
    return {
      stage,
      ipa,
      level: levelOf(space.format, walker.depth),
      entryAddress: u64(walker.addressHi, walker.addressLo),
      entry: u64(walker.hi, walker.lo),
    }
  }
  const last = tables.reads - 1
  if (last < 0 || result.reason === 0) return NOTHING
  const words = [tables.root, tables.context, tables.directory, tables.pasid][last]!
  return { ...NOTHING, entryAddress: BigInt(tables.address[last]!), entry: u64(words[1]!, words[0]!) }
}

/** The rule that decided, in words with the specification's section. */
function whyOf(translator: Translator): string {
  const { result, context } = translator
  if (result.rule !== '') return result.rule
  const reason = faultReason(result.reason)
  const what = `${reason?.condition ?? 'not described'} (${reason?.group === 'interrupt' ? '5.1.4.1' : `7.1.3, ${reason?.name ?? '?'}`})`
  if (result.stage === 0) return context.rule === 0 ? what : `${ENTRY_RULES[context.rule]}: ${what}`
  if (!result.walked) return `${what}, as the IOTLB has it`
  const walker = result.stage === 2 ? translator.walker.stage2 : translator.walker
  return walker.status === WALK_OK ? what : `stage ${result.stage}, ${WALK_NAMES[walker.status]}: ${what}`
}
