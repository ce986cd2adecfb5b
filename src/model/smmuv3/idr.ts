/**
 * Identification registers: what this SMMU can do, and the defaults. Arm IHI 0070, 6.3.1 to 6.3.8.
 * Fields are named as the manual prints them; a field that is not given keeps its default.
 */
import { encode, type Fields, type Layout } from '../../base/layout.ts'
import { AIDR, IDR0, IDR1, IDR3, IDR5, IIDR } from '../../format/smmuv3/registers.ts'

type Names<L> = L extends Layout<infer F extends Fields> ? keyof F : never
type FieldName = Names<typeof IDR0> | Names<typeof IDR1> | Names<typeof IDR3> | Names<typeof IDR5>

/** Fields of IDR0, IDR1, IDR3 and IDR5, by name. */
export type IdrOptions = { readonly [name in FieldName]?: number }

const DEFAULTS: IdrOptions = {
  S1P: 1,
  S2P: 1,
  TTF: 2,
  COHACC: 1,
  HTTU: 2,
  Hyp: 1,
  ATS: 1,
  ASID16: 1,
  MSI: 1,
  SEV: 1,
  PRI: 1,
  VMW: 1,
  VMID16: 1,
  CD2L: 1,
  TTENDIAN: 0,
  ATSRECERR: 1,
  STALL_MODEL: 0,
  TERM_MODEL: 0,
  ST_LEVEL: 1,
  SIDSIZE: 16,
  SSIDSIZE: 20,
  PRIQS: 19,
  EVENTQS: 19,
  CMDQS: 19,
  ATTR_PERMS_OVR: 1,
  ATTR_TYPES_OVR: 1,
  HAD: 1,
  XNX: 1,
  FWB: 1,
  RIL: 1,
  BBML: 2,
  E0PD: 1,
  EPAN: 1,
  OAS: 5,
  GRAN4K: 1,
  GRAN16K: 1,
  GRAN64K: 1,
  STALL_MAX: 256,
}

/** What the model does not do, and so must not offer. */
const ABSENT: readonly FieldName[] = [
  'BTM',
  'ATOS',
  'VATOS',
  'RME_IMPL',
  'DORMHINT',
  'QUEUES_PRESET',
  'TABLES_PRESET',
  'REL',
  'ECMDQ',
  'MPAM',
  'DPT',
  'PASIDTT',
  'S1PI',
  'S2PI',
  'S2PO',
  'THE',
  'MTEPERM',
  'AIE',
  'D128',
]

/**
 * Values of the identification registers by name.
 * @throws RangeError for an unknown field, a value that does not fit, or a feature that the model does not have.
 */
export function idrValues(options: IdrOptions = {}): Map<string, number> {
  const all = { ...DEFAULTS, ...options }
  for (const name of ABSENT) if (all[name]) throw new RangeError(`IDR field ${name}: this model does not have it; leave it 0`)
  if (all.TTF !== 2) throw new RangeError(`IDR field TTF = ${all.TTF}: this model walks AArch64 tables only; leave it 2`)
  if (all.HTTU! > 2)
    throw new RangeError(`IDR field HTTU = ${all.HTTU}: access flags of table entries are not updated; use 0, 1 or 2`)
  if (all.VAX! > 1) throw new RangeError(`IDR field VAX = ${all.VAX}: use 0 (48 bits) or 1 (52 bits)`)
  const registers: [string, Layout][] = [
    ['IDR0', IDR0],
    ['IDR1', IDR1],
    ['IDR3', IDR3],
    ['IDR5', IDR5],
  ]
  const known = registers.flatMap(([, layout]) => Object.keys(layout.fields))
  for (const name of Object.keys(options))
    if (!known.includes(name)) throw new RangeError(`no IDR field ${name}; there are ${known.join(', ')}`)
  const out = new Map<string, number>()
  for (const [register, layout] of registers) {
    const values = Object.fromEntries(Object.entries(all).filter(([name]) => name in layout.fields))
    out.set(register, encode(layout, values)[0]!)
  }
  // Architecture version 3.3: range invalidation (3.2) and EPAN are there.
  out.set('AIDR', encode(AIDR, { ArchMinorRev: 3 })[0]!)
  out.set('IIDR', encode(IIDR, {})[0]!)
  return out
}
