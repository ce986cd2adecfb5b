/**
 * What happens when a transaction is refused: terminated or stalled, recorded or not, and what the device sees.
 * Arm IHI 0070, 3.12, 5.5 (A, R and S bits), 7.2, 7.3; for ATS 3.9.1.2 and 3.9.1.3.
 */
import { getNumber, maskIn } from '../../base/layout.ts'
import type { Fault } from '../../base/types.ts'
import { u64 } from '../../base/u64.ts'
import { CD } from '../../format/smmuv3/cd.ts'
import * as events from '../../format/smmuv3/events.ts'
import { CR2 } from '../../format/smmuv3/registers.ts'
import { STE } from '../../format/smmuv3/ste.ts'
import {
  ACCESS_MASK,
  ATS_REQUEST,
  EXECUTE,
  faultOf,
  PRIVILEGED,
  type Refused,
  type Request,
  TRANSLATED,
  WRITE,
} from '../common/request.ts'
import { type Configuration, type Context, effectiveAccess, effectivePrivilege, type Stream } from './config.ts'
import type { EventQueue } from './eventq.ts'
import { eventRecord } from './record.ts'
import type { Stalled, Stalls } from './stall.ts'

/** Why a transaction is refused: `code` is the event that an ordinary one records; 0: none (Config says abort, or the SMMU is off). */
export interface Refusal extends Refused {
  readonly stream?: Stream
  readonly context?: Context
  readonly class?: number
  /** Address of the fetch that failed. */
  readonly fetch?: number
  /** The access to a stage 1 table that stage 2 refused was a write. */
  readonly tableWrite?: boolean
  /** Terminates and is recorded, whatever A, R and S say: stage 1 was bypassed. */
  readonly final?: boolean
}

/** The four faults whose handling CD and STE choose (3.12). */
export function isTranslationRelated(code: number): boolean {
  return code >= events.F_TRANSLATION && code <= events.F_PERMISSION
}

const RECINVSID = maskIn(CR2.fields.RECINVSID, 0)
const REC_CFG_ATS = maskIn(CR2.fields.REC_CFG_ATS, 0)

type Response = Fault['response']

export class FaultUnit {
  readonly #config: Configuration
  readonly #queue: EventQueue
  readonly #stalls: Stalls
  readonly #cr2: () => number

  constructor(config: Configuration, queue: EventQueue, stalls: Stalls, cr2: () => number) {
    this.#config = config
    this.#queue = queue
    this.#stalls = stalls
    this.#cr2 = cr2
  }

  /**
   * Refuses a transaction. The fault's record is what the SMMU writes; whether the queue had room for it, only the queue says.
   * @param live false: say what would happen, and leave no trace.
   * @param held the transaction is one that already stalls and was tried again.
   */
  refuse(request: Request, refusal: Refusal, live: boolean, held: Stalled | null): Fault {
    const { response, recorded } = this.#decide(request, refusal)
    if (response === 'stalled') return this.#stall(request, refusal, live, held)
    const record = recorded ? this.record(request, refusal, 0, 0) : null
    if (record !== null && live) this.#queue.record(record)
    return fault(request, refusal, record, response)
  }

  #decide(request: Request, refusal: Refusal): { response: Response; recorded: boolean } {
    const { code, stream } = refusal
    if ((request.flags & ATS_REQUEST) !== 0) return this.#decideAts(refusal)
    if (code === 0) return { response: 'abort', recorded: false }
    const related = isTranslationRelated(code) && refusal.final !== true
    if (!related) return { response: 'abort', recorded: this.#recordsConfiguration(request, code) }
    if (refusal.stage === 2) {
      const ste = stream!.words
      if (getNumber(ste, STE.fields.S2S) === 1) return { response: 'stalled', recorded: true }
      return { response: 'abort', recorded: getNumber(ste, STE.fields.S2R) === 1 }
    }
    const cd = refusal.context!.words
    if (getNumber(cd, CD.fields.S) === 1) return { response: 'stalled', recorded: true }
    const aborts = getNumber(cd, CD.fields.A) === 1 || this.#config.features.abortOnly
    return { response: aborts ? 'abort' : 'read-zero', recorded: getNumber(cd, CD.fields.R) === 1 }
  }

  #recordsConfiguration(request: Request, code: number): boolean {
    const cr2 = this.#cr2()
    // 3.9.1.3: for translated transactions, faults of stage 2 are as for others, errors of the configuration only on request.
    if ((request.flags & TRANSLATED) !== 0 && code < events.F_WALK_EABT && code !== events.F_TRANSL_FORBIDDEN)
      return (cr2 & REC_CFG_ATS) !== 0
    return code !== events.C_BAD_STREAMID || (cr2 & RECINVSID) !== 0
  }

  // 3.9.1.2
  #decideAts(refusal: Refusal): { response: Response; recorded: boolean } {
    const { code } = refusal
    if (code === 0) return { response: 'unsupported-request', recorded: false }
    if (code === events.F_BAD_ATS_TREQ) return { response: 'unsupported-request', recorded: true }
    if (isTranslationRelated(code)) return { response: 'no-access', recorded: false }
    const cr2 = this.#cr2()
    const wanted = code === events.C_BAD_STREAMID ? REC_CFG_ATS | RECINVSID : REC_CFG_ATS
    return { response: 'completer-abort', recorded: (cr2 & wanted) === wanted }
  }

  #stall(request: Request, refusal: Refusal, live: boolean, held: Stalled | null): Fault {
    if (!live) return fault(request, refusal, this.record(request, refusal, 1, 0), 'stalled')
    const pasid = request.pasid < 0 ? null : request.pasid
    const stalled = held ?? this.#stalls.hold(request.device, pasid, request.hi, request.lo, request.flags)
    const tagged = this.#stalls.tag(stalled)
    const record = tagged ? this.record(request, refusal, 1, stalled.stag) : null
    if (record !== null) stalled.recorded = this.#queue.recordStall(record)
    return { ...fault(request, refusal, record, 'stalled'), stallTag: stalled.ticket }
  }

  /** The event record of a refusal. */
  record(request: Request, refusal: Refusal, stall: number, stag: number): Uint32Array {
    const { flags } = request
    const { access, privileged } = effective(request, refusal.stream)
    // 7.3.6: an ATS request is shown as it came.
    const asked = flags & ACCESS_MASK
    const translated = (flags & TRANSLATED) !== 0
    const record = eventRecord(refusal.code, {
      StreamID: request.device,
      // 3.9.1.3: translated transactions count as without SubstreamID. 7.3.9: with CD 0 by S1DSS, it is recorded as 0.
      substream: translated ? null : request.pasid >= 0 ? request.pasid : null,
      InputAddr: u64(request.hi, request.lo),
      RnW: access === WRITE ? 0 : 1,
      InD: access === EXECUTE ? 1 : 0,
      PnU: privileged ? 1 : 0,
      S2: refusal.stage === 2 ? 1 : 0,
      CLASS: refusal.class ?? events.CLASS_IN,
      IPA: refusal.ipa ?? 0n,
      FetchAddr: BigInt(refusal.fetch ?? 0),
      TTRnW: refusal.class === events.CLASS_TTD && refusal.tableWrite !== true ? 1 : 0,
      Stall: stall,
      STAG: stag,
      Span: 1,
      R: 1,
      W: asked === WRITE ? 1 : 0,
      X: asked === EXECUTE ? 1 : 0,
      Priv: (flags & PRIVILEGED) !== 0 ? 1 : 0,
    })
    return record
  }
}

/** What an access counts as: after the STE's overrides; translated transactions are unprivileged data before them (3.9.1.3). */
export function effective(request: Request, stream: Stream | undefined): { access: number; privileged: boolean } {
  let access = request.flags & ACCESS_MASK
  let privileged = (request.flags & PRIVILEGED) !== 0
  if ((request.flags & TRANSLATED) !== 0) {
    access = access === WRITE ? WRITE : 0
    privileged = false
  }
  return {
    access: effectiveAccess(access, stream?.instcfg ?? 0),
    privileged: effectivePrivilege(privileged, stream?.privcfg ?? 0),
  }
}

function fault(request: Request, refusal: Refusal, record: Uint32Array | null, response: Response): Fault {
  const about = refusal.stage === 2 ? refusal : { ...refusal, ipa: null }
  return faultOf(request, about, events.eventName(refusal.code), record, response)
}
