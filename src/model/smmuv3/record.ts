/** Event records as they lie in the queue. Arm IHI 0070, 7.3: which fields an event has, its layout says. */
import { setField } from '../../base/layout.ts'
import { EVENT_WORDS, EVENTS } from '../../format/smmuv3/events.ts'

/** Everything that some event record holds. Addresses may have low bits that the record drops. */
export interface EventFields {
  readonly StreamID: number
  /** Null: the transaction has none (SSV = 0). */
  readonly substream: number | null
  readonly InputAddr?: bigint
  readonly RnW?: number
  readonly InD?: number
  readonly PnU?: number
  readonly S2?: number
  readonly CLASS?: number
  readonly IPA?: bigint
  readonly FetchAddr?: bigint
  readonly TTRnW?: number
  readonly Stall?: number
  readonly STAG?: number
  readonly Span?: number
  readonly R?: number
  readonly W?: number
  readonly X?: number
  readonly Priv?: number
  readonly uR?: number
  readonly uW?: number
  readonly uX?: number
  readonly pR?: number
  readonly pW?: number
  readonly pX?: number
}

/** The record of an event: of the given fields, those that its layout has. */
export function eventRecord(event: number, given: EventFields): Uint32Array {
  const { fields } = EVENTS.get(event)!.layout
  const words = new Uint32Array(EVENT_WORDS)
  const { substream, ...values } = given
  const all = { ...values, type: event, SSV: substream === null ? 0 : 1, SubstreamID: substream ?? 0 }
  for (const [name, value] of Object.entries(all)) {
    const field = fields[name]
    if (field === undefined || value === undefined) continue
    // Addresses lose the bits below and above their field, as in the hardware's wires.
    const width = BigInt(field.msb - field.lsb + 1)
    const fitting =
      field.kind === 'addr' ? BigInt.asUintN(Number(width), BigInt(value) >> BigInt(field.shift)) << BigInt(field.shift) : value
    setField(words, field, fitting, 0, name)
  }
  return words
}
