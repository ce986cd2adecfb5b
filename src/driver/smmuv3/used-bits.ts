/**
 * Which bits of an STE or a CD the hardware looks at, given what the entry says. Arm IHI 0070, 5.2 and 5.4 (IGNORED fields), 13.5
 * "Summary of attribute/permission configuration fields". Where the manual leaves it to the implementation, a bit counts as used.
 */
import { getBits } from '../../base/layout.ts'
import { CD, CD_WORDS } from '../../format/smmuv3/cd.ts'
import { S1DSS_BYPASS, STE, STE_WORDS } from '../../format/smmuv3/ste.ts'
import { type EntryKind, maskOf } from '../common/hitless.ts'

function add(mask: Uint32Array, more: Uint32Array): void {
  for (let word = 0; word < mask.length; word++) mask[word]! |= more[word]!
}

function remove(mask: Uint32Array, less: Uint32Array): void {
  for (let word = 0; word < mask.length; word++) mask[word]! &= ~less[word]!
}

const STE_ALWAYS = maskOf(STE, ['V'])
/** Every valid STE: traffic passes or does not. */
const STE_VALID = maskOf(STE, ['Config'])
/** Whatever passes traffic. */
const STE_PASSES = maskOf(STE, [
  'CONT',
  'PRIVCFG',
  'INSTCFG',
  'NSCFG',
  'ImpDef127',
  'ImpDef159',
  'ImpDef271',
  'PARTID',
  'PMG',
  'MPAM_NS',
  'MECID',
])
/** What replaces incoming attributes, used where stage 1 does not give attributes of its own (13.5). */
const STE_OVERRIDES = maskOf(STE, ['MTCFG', 'MemAttr', 'ALLOCCFG', 'SHCFG'])
/** Whatever translates. */
const STE_TRANSLATES = maskOf(STE, ['S2VMID', 'EATS', 'MEV', 'DRE', 'DCP', 'DPT_VMATCH'])
const STE_STAGE1 = maskOf(STE, [
  ...([
    'S1Fmt',
    'S1ContextPtr',
    'S1CDMax',
    'S1DSS',
    'S1CIR',
    'S1COR',
    'S1CSH',
    'S1STALLD',
    'S1PIE',
    'S1MPAM',
    'STRW',
    'PPAR',
  ] as const),
])
const STE_STAGE2 = maskOf(STE, [
  ...([
    'S2T0SZ',
    'S2SL0',
    'S2IR0',
    'S2OR0',
    'S2SH0',
    'S2TG',
    'S2PS',
    'S2AA64',
    'S2ENDI',
    'S2AFFD',
    'S2PTW',
    'S2HD',
    'S2HA',
  ] as const),
  ...(['S2S', 'S2R', 'S2HAFT', 'S2PIE', 'S2POE', 'S2FWB', 'S2HWU59', 'S2HWU60', 'S2HWU61', 'S2HWU62', 'S2NSW', 'S2NSA'] as const),
  ...(['S2SL0_2', 'S2DS', 'S2TTB', 'S2SKL', 'AssuredOnly', 'TL0', 'TL1', 'VMSPtr', 'S2POI', 'S2SW', 'S2SA'] as const),
  ...(['S_S2T0SZ', 'S_S2SL0', 'S_S2TG', 'S_S2SL0_2', 'S_S2TTB', 'S_S2SKL'] as const),
])

/** The bits of a stream table entry that count. */
export function steUsed(ste: Uint32Array): Uint32Array {
  const mask = new Uint32Array(STE_WORDS)
  add(mask, STE_ALWAYS)
  if ((ste[0]! & 1) === 0) return mask
  add(mask, STE_VALID)
  const config = getBits(ste, STE.fields.Config.msb, STE.fields.Config.lsb)
  if ((config & 0b100) === 0) return mask
  add(mask, STE_PASSES)
  const stage1 = (config & 0b001) !== 0
  const bypassesStage1 = !stage1 || getBits(ste, STE.fields.S1DSS.msb, STE.fields.S1DSS.lsb) === S1DSS_BYPASS
  if (stage1) add(mask, STE_STAGE1)
  if ((config & 0b010) !== 0) add(mask, STE_STAGE2)
  if ((config & 0b011) !== 0) add(mask, STE_TRANSLATES)
  if (bypassesStage1) add(mask, STE_OVERRIDES)
  return mask
}

const CD_ALWAYS = maskOf(CD, ['V'])
const CD_ALL = maskOf(CD, Object.keys(CD.fields) as (keyof typeof CD.fields)[])
/** IGNORED when the half is not walked (5.4, EPD0 and EPD1). */
const CD_TTB0 = maskOf(CD, ['T0SZ', 'TG0', 'IR0', 'OR0', 'SH0', 'TTB0'])
const CD_TTB1 = maskOf(CD, ['T1SZ', 'TG1', 'IR1', 'OR1', 'SH1', 'TTB1'])

/** The bits of a context descriptor that count. */
export function cdUsed(cd: Uint32Array): Uint32Array {
  const mask = new Uint32Array(CD_WORDS)
  const is = (field: { lsb: number }) => getBits(cd, field.lsb, field.lsb) === 1
  if (!is(CD.fields.V)) add(mask, CD_ALWAYS)
  else {
    add(mask, CD_ALL)
    if (is(CD.fields.EPD0)) remove(mask, CD_TTB0)
    if (is(CD.fields.EPD1)) remove(mask, CD_TTB1)
  }
  return mask
}

export const STE_ENTRY: EntryKind = { validBit: STE.fields.V.lsb, used: steUsed }
export const CD_ENTRY: EntryKind = { validBit: CD.fields.V.lsb, used: cdUsed }
