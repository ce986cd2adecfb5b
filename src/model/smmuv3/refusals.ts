/** The ways in which a translation ends badly, as refusals. Arm IHI 0070, 7.3. */
import { rightsText } from '../../base/types.ts'
import { u64 } from '../../base/u64.ts'
import { levelOf, type PtSpace } from '../../format/pt/format.ts'
import { WALK_STAGE2_OUTPUT, WALK_STAGE2_TABLE, WALK_TABLE_ABORT, type Walker } from '../../format/pt/walker.ts'
import { noStage1 } from '../../format/smmuv3/context.ts'
import * as events from '../../format/smmuv3/events.ts'
import { LOOKUP_STAGE2 } from '../../format/smmuv3/lookup.ts'
import type { Context, Stream } from './config.ts'
import type { Refusal } from './faults.ts'
import type { Translator } from './translate.ts'
import { walkEvent, walkText } from './why.ts'

/** No STE, or a bad one. */
export function refuseStream(t: Translator, stream: Stream): number {
  return t.refuse({ code: stream.status, why: stream.why, stream, ...whereFailed(stream, events.F_STE_FETCH) })
}

/** The fetch that failed, or the entry that is bad. */
function whereFailed(entry: Stream | Context, fetchEvent: number): Partial<Refusal> {
  const { address, status } = entry
  if (status === fetchEvent) return { fetch: address, entryAddress: address }
  return address < 0 ? {} : { entryAddress: address, entry: firstWord(entry) }
}

/** The SubstreamID, or that there is none, does not go with the STE (5.2 S1CDMax, S1DSS). */
export function refuseSubstream(t: Translator, stream: Stream, code: number): number {
  const none = t.pasid < 0
  const why =
    code === events.F_STREAM_DISABLED
      ? none
        ? 'no SubstreamID, and STE.S1DSS is terminate (5.2)'
        : 'SubstreamID 0, and STE.S1DSS gives CD 0 to transactions without one (5.2)'
      : (stream.config & 1) === 0
        ? 'a SubstreamID, and STE.Config has no stage 1 (7.3.9)'
        : stream.cdCount === 0
          ? 'a SubstreamID, and STE.S1CDMax is 0: no substreams (7.3.9)'
          : 'SubstreamID beyond STE.S1CDMax (7.3.9)'
  return t.refuse({ code, why, stream, entryAddress: stream.address, entry: firstWord(stream) })
}

/** No CD, or a bad one. */
export function refuseContext(t: Translator, stream: Stream, context: Context): number {
  const { status, why, ipa } = context
  if (status === LOOKUP_STAGE2) {
    const [hi, lo] = [Math.floor(ipa / 4294967296), ipa]
    return refuseStage2(t, stream, context, events.CLASS_CD, hi, lo | 0, false)
  }
  return t.refuse({ code: status, why, stream, ...whereFailed(context, events.F_CD_FETCH) })
}

/** F_ADDR_SIZE of an address that no stage 1 translates: always terminated and recorded (3.4, 3.12). */
export function refuseSize(t: Translator, stream: Stream, bits: number): number {
  const why = `stage 1 is bypassed, and the address is beyond ${bits} bits (3.4)`
  return t.refuse({ code: events.F_ADDR_SIZE, why, stage: 1, stream, final: true })
}

/** EPD, or no TTB1: every miss is a translation fault (5.4 EPD0). */
export function refuseHalf(t: Translator, stream: Stream, context: Context, half: 0 | 1): number {
  const why = noStage1(context.words, 0, stream.words, 0, t.config.features, half) ?? `TTB${half} has no tables`
  const entry = { entryAddress: context.address, entry: firstWord(context) }
  return t.refuse({ code: events.F_TRANSLATION, why, stage: 1, stream, context, ...entry })
}

export function refuseE0pd(t: Translator, stream: Stream, context: Context, half: 0 | 1): number {
  const why = `unprivileged, and CD.E0PD${half} is 1 (5.4)`
  return t.refuse({ code: events.F_TRANSLATION, why, stage: 1, stream, context })
}

/** The TLB's entry does not allow it: what the tables say by now does not matter until it is invalidated. */
export function refuseCached(t: Translator, stream: Stream, context: Context | null, stage: 1 | 2, rights: number): number {
  const why = `the IOTLB entry allows ${rightsText(rights)}, which is not enough (3.17)`
  const about = context === null ? { ipa: u64(t.hi, t.lo) } : { context }
  return t.refuse({ code: events.F_PERMISSION, why, stage, stream, ...about })
}

/** A walk that began in stage 1 ended badly. */
export function refuseWalk(t: Translator, stream: Stream, context: Context, space: PtSpace): number {
  const { walker } = t
  if (walker.status === WALK_STAGE2_TABLE)
    return refuseStage2(t, stream, context, events.CLASS_TTD, walker.ipaHi, walker.ipaLo, walker.updateRefused)
  if (walker.status === WALK_STAGE2_OUTPUT)
    return refuseStage2(t, stream, context, events.CLASS_IN, walker.outHi, walker.outLo, false)
  const code = walkEvent(walker.status)
  return t.refuse({
    code,
    why: walkText(walker, space, 1),
    stage: 1,
    class: code === events.F_WALK_EABT ? events.CLASS_TTD : events.CLASS_IN,
    stream,
    context,
    ...lastEntry(walker, space),
  })
}

/** Stage 2 refused this intermediate address: of a CD, of a stage 1 entry, or of the transaction. */
export function refuseStage2(
  t: Translator,
  stream: Stream,
  context: Context | null,
  about: number,
  ipaHi: number,
  ipaLo: number,
  tableWrite: boolean,
): number {
  const outer = t.walker.stage2
  const space = stream.stage2!
  return t.refuse({
    code: walkEvent(outer.status),
    why: walkText(outer, space, 2),
    stage: 2,
    class: about,
    ipa: u64(ipaHi, ipaLo),
    tableWrite,
    stream,
    ...(context === null ? {} : { context }),
    ...lastEntry(outer, space),
  })
}

function firstWord(entry: Stream | Context): bigint {
  return u64(entry.words[1]!, entry.words[0]!)
}

/** The entry that a walk read last, or tried to. */
function lastEntry(walker: Walker, space: PtSpace): Partial<Refusal> {
  const level = levelOf(space.format, walker.depth)
  if (walker.status === WALK_TABLE_ABORT) return { level, fetch: walker.entryAddress, entryAddress: walker.entryAddress }
  if (!walker.readAny) return {}
  return { level, entryAddress: walker.entryAddress, entry: u64(walker.hi, walker.lo) }
}
