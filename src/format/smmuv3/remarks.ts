/** What is legal in STEs and CDs and still worth saying: reserved values that behave as others, bits that count for nothing. */
import { getAddress, getNumber, type Words } from '../../base/layout.ts'
import { CD } from './cd.ts'
import { stage1Space, stage2Space } from './context.ts'
import type { SmmuFeatures } from './features.ts'
import { cdTableBase, cdTableLog2 } from './lookup.ts'
import { S1DSS_SSID0, STE } from './ste.ts'
import type { Broken } from './ste-rules.ts'

/** For a legal STE. */
export function remarksSte(ste: Words, at: number, features: SmmuFeatures): Broken[] {
  const s = (name: keyof typeof STE.fields) => getNumber(ste, STE.fields[name], at)
  const out: Broken[] = []
  const say = (section: string, rule: string) => out.push({ rule, section })
  const config = s('Config')
  if (config < 4) {
    say('5.2 Config', `${config === 0 ? '' : 'STE.Config is reserved, as 0: '}all traffic is aborted, and no event is recorded`)
    return out
  }
  if (config & 1) {
    const substreams = cdTableLog2(ste, at, features) > 0
    if (!substreams) say('5.2 S1CDMax', 'there is one CD, and a transaction with a SubstreamID is C_BAD_SUBSTREAMID')
    if (substreams && s('S1Fmt') === 3) say('5.2 S1Fmt', 'STE.S1Fmt is reserved, and behaves as linear')
    if (substreams && s('S1DSS') === 3) say('5.2 S1DSS', 'STE.S1DSS is reserved, and behaves as terminate')
    if (substreams && s('S1DSS') === S1DSS_SSID0)
      say('5.2 S1DSS', 'CD 0 is for traffic without SubstreamID; a transaction with SubstreamID 0 is F_STREAM_DISABLED')
    if (cdTableBase(ste, at, features) !== getAddress(ste, STE.fields.S1ContextPtr, at))
      say('5.2 S1Fmt', 'STE.S1ContextPtr is not aligned to the size of its table: its low bits do not count')
  }
  if (config & 2) {
    if (s('S2HD') === 1 && s('S2HA') === 0) say('5.2 S2HA', 'STE.S2HD does nothing without STE.S2HA')
    const space = stage2Space(ste, at, features)
    if (space !== null && space.root !== getAddress(ste, STE.fields.S2TTB, at))
      say('5.2 S2TTB', 'STE.S2TTB is not aligned to the size of its table: its low bits do not count')
  }
  if (s('EATS') !== 0 && (config === 4 || !features.ats)) say('5.2 EATS', 'STE.EATS does not count here: there is no ATS')
  return out
}

/** For a legal CD. */
export function remarksCd(cd: Words, at: number, ste: Words, steAt: number, features: SmmuFeatures): Broken[] {
  const c = (name: keyof typeof CD.fields) => getNumber(cd, CD.fields[name], at)
  const out: Broken[] = []
  const say = (section: string, rule: string) => out.push({ rule, section })
  if (c('EPD0') === 1 && c('EPD1') === 1) {
    say('5.4.1.1', `nothing is walked: every address faults${c('R') === 0 && c('S') === 0 ? ', and no event is recorded' : ''}`)
  }
  if (c('HD') === 1 && c('HA') === 0) say('5.4 HA', 'CD.HD does nothing without CD.HA')
  if (c('UWXN') === 1 && c('AA64') === 1) say('5.4 UWXN', 'CD.UWXN does nothing with VMSAv8-64 tables')
  for (const half of [0, 1] as const) {
    const space = stage1Space(cd, at, ste, steAt, features, half)
    if (space !== null && space.root !== getAddress(cd, half === 0 ? CD.fields.TTB0 : CD.fields.TTB1, at))
      say(`5.4 TTB${half}`, `CD.TTB${half} is not aligned to the size of its table: its low bits do not count`)
  }
  return out
}
