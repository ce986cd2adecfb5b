/**
 * What makes a CD illegal (C_BAD_CD), by the manual's own rules and in its order: Arm IHI 0070, 5.4.2 "Validity of CD". It depends on the STE
 * that the CD is reached through. Notes as for STEs.
 */
import { getAddress, getBits, getNumber, type Words } from '../../base/layout.ts'
import type { Granule } from '../pt/vmsav8.ts'
import { CD } from './cd.ts'
import { granule0, granule1, stage1OutputBits, streamWorld, walksDisabled } from './context.ts'
import { ENDIAN_BIG, ENDIAN_LITTLE, granuleSupported, type SmmuFeatures, STALL_FORCED, STALL_NEVER } from './features.ts'
import { STE } from './ste.ts'
import { type Broken, largestTsz, s2Aarch32, stage2, tableBeyond } from './ste-rules.ts'

export interface CdRule extends Broken {
  broken(cd: Words, cdAt: number, ste: Words, steAt: number, features: SmmuFeatures): boolean
}

function s(ste: Words, at: number, name: keyof typeof STE.fields): number {
  return getNumber(ste, STE.fields[name], at)
}

function c(cd: Words, at: number, name: keyof typeof CD.fields): number {
  return getNumber(cd, CD.fields[name], at)
}

/** The tables are VMSAv8-32 LPAE. */
function cdAarch32(cd: Words, at: number, f: SmmuFeatures): boolean {
  return !f.d128 && c(cd, at, 'AA64') === 0
}

type HalfTest = (cd: Words, cdAt: number, half: 0 | 1, granule: Granule | null, features: SmmuFeatures) => boolean

/** A rule of TTB0 and the same of TTB1; neither counts where EPD switches the half off (5.4.1.1). */
function bothHalves(rule: (half: 0 | 1) => string, section: (half: 0 | 1) => string, broken: HalfTest): CdRule[] {
  return ([0, 1] as const).map((half) => ({
    rule: rule(half),
    section: section(half),
    broken: (cd, cdAt, ste, steAt, f) => {
      if (walksDisabled(cd, cdAt, streamWorld(ste, steAt, f), half)) return false
      return broken(cd, cdAt, half, half === 0 ? granule0(c(cd, cdAt, 'TG0')) : granule1(c(cd, cdAt, 'TG1')), f)
    },
  }))
}

/** In the manual's order. */
export const CD_RULES: readonly CdRule[] = [
  {
    rule: 'CD.V is 0: the entry is not valid',
    section: '5.4 V',
    broken: (cd, at) => c(cd, at, 'V') === 0,
  },
  {
    rule: 'CD.S lets faults stall, but STE.S1STALLD forbids it',
    section: '5.5',
    broken: (cd, at, ste, steAt) => c(cd, at, 'S') === 1 && s(ste, steAt, 'S1STALLD') === 1,
  },
  {
    rule: 'CD.A is 0, but this SMMU can only terminate with an abort (IDR0.TERM_MODEL is 1)',
    section: '5.5',
    broken: (cd, at, _ste, _steAt, f) => c(cd, at, 'A') === 0 && f.abortOnly,
  },
  {
    rule: 'CD.S lets faults stall, but this SMMU never stalls (IDR0.STALL_MODEL is 0b01)',
    section: '5.5',
    broken: (cd, at, _ste, _steAt, f) => c(cd, at, 'S') === 1 && f.stallModel === STALL_NEVER,
  },
  {
    rule: 'CD.S is 0, but this SMMU always stalls (IDR0.STALL_MODEL is 0b10)',
    section: '5.5',
    broken: (cd, at, _ste, _steAt, f) => c(cd, at, 'S') === 0 && f.stallModel === STALL_FORCED,
  },
  {
    rule: 'CD.ENDI is an endianness that this SMMU does not have (IDR0.TTENDIAN)',
    section: '5.4 ENDI',
    broken: (cd, at, ste, steAt, f) => {
      const world = streamWorld(ste, steAt, f)
      if (walksDisabled(cd, at, world, 0) && walksDisabled(cd, at, world, 1)) return false
      return f.endian === (c(cd, at, 'ENDI') === 1 ? ENDIAN_LITTLE : ENDIAN_BIG)
    },
  },
  {
    rule: 'CD.AA64 selects VMSAv8-32 LPAE tables, which this SMMU or an EL2-E2H stream does not have',
    section: '5.4 AA64',
    broken: (cd, at, ste, steAt, f) => cdAarch32(cd, at, f) && (!f.aarch32 || streamWorld(ste, steAt, f) === 'el2-e2h'),
  },
  {
    rule: 'CD.AA64 selects VMSAv8-64 tables, which this SMMU does not have (IDR0.TTF)',
    section: '5.4 AA64',
    broken: (cd, at, _ste, _steAt, f) => c(cd, at, 'AA64') === 1 && !f.aarch64,
  },
  {
    rule: 'CD.AA64 selects VMSAv8-64 tables over a stage 2 of VMSAv8-32 LPAE tables',
    section: '5.4 AA64',
    broken: (cd, at, ste, steAt, f) => c(cd, at, 'AA64') === 1 && stage2(ste, steAt) && s2Aarch32(ste, steAt, f),
  },
  {
    rule: 'CD.HA or HD is 1, but this SMMU does no hardware updates (IDR0.HTTU is 0)',
    section: '5.4 HA',
    broken: (cd, at, _ste, _steAt, f) => !cdAarch32(cd, at, f) && (c(cd, at, 'HA') | c(cd, at, 'HD')) === 1 && f.httu === 0,
  },
  {
    rule: 'CD.HD is 1, but this SMMU updates the access flag only (IDR0.HTTU is 0b01)',
    section: '5.4 HA',
    broken: (cd, at, _ste, _steAt, f) => !cdAarch32(cd, at, f) && c(cd, at, 'HD') === 1 && f.httu === 1,
  },
  {
    rule: 'CD.HAFT is 1 without CD.HA',
    section: '5.4 HAFT',
    broken: (cd, at, _ste, _steAt, f) =>
      !cdAarch32(cd, at, f) && c(cd, at, 'HAFT') === 1 && c(cd, at, 'HA') === 0 && f.httu === 3,
  },
  {
    rule: 'CD.ASID has more than the 8 bits of this SMMU (IDR0.ASID16 is 0)',
    section: '5.4 ASID',
    broken: (cd, at, ste, steAt, f) => !f.asid16 && c(cd, at, 'ASID') > 255 && streamWorld(ste, steAt, f) !== 'el2',
  },
  ...bothHalves(
    (half) => `CD.T${half}SZ is out of range for the granule and the virtual address size (IDR5.VAX, IDR3.STT)`,
    () => '5.4 T0SZ',
    (cd, at, half, granule, f) => {
      if (cdAarch32(cd, at, f)) return false
      const size = c(cd, at, half === 0 ? 'T0SZ' : 'T1SZ')
      const wide = granule === 16 || (f.ds && c(cd, at, 'DS') === 1) || c(cd, at, 'AA64') === 0
      const smallest = f.vaBits >= 52 && wide ? (f.vaBits === 56 && c(cd, at, 'AA64') === 0 ? 9 : 12) : 16
      return size < smallest || size > largestTsz(f, granule)
    },
  ),
  ...bothHalves(
    (half) => `CD.TG${half} is reserved, or a granule that this SMMU does not have (IDR5)`,
    (half) => `5.4 TG${half}`,
    (cd, at, _half, granule, f) => !cdAarch32(cd, at, f) && !granuleSupported(f, granule),
  ),
  ...bothHalves(
    (half) => `CD.TTB${half} is beyond the effective CD.IPS, or beyond 48 bits where entries hold no more`,
    (half) => `5.4 TTB${half}`,
    (cd, at, half, granule, f) => {
      const table = getAddress(cd, half === 0 ? CD.fields.TTB0 : CD.fields.TTB1, at)
      const bits = cdAarch32(cd, at, f) ? 40 : stage1OutputBits(cd, at, f)
      return tableBeyond(table, bits, c(cd, at, 'AA64') === 1, f.ds && c(cd, at, 'DS') === 1, granule)
    },
  ),
  {
    rule: 'CD.AA64 selects VMSAv9-128 tables, but STE.S1PIE is 0 or the stream is one of EL2',
    section: '5.4 AA64',
    broken: (cd, at, ste, steAt, f) =>
      f.d128 && c(cd, at, 'AA64') === 0 && (s(ste, steAt, 'S1PIE') === 0 || streamWorld(ste, steAt, f) === 'el2'),
  },
  {
    rule: 'CD.PIIP or PIIU has a reserved encoding, or lets privileged code execute what unprivileged code can write',
    section: '5.4 PIIP',
    broken: (cd, at, ste, steAt, f) => {
      if (!f.s1pi || s(ste, steAt, 'S1PIE') === 0 || (c(cd, at, 'PIE') === 0 && c(cd, at, 'AA64') === 1)) return false
      if (cdAarch32(cd, at, f)) return false
      const unprivileged = streamWorld(ste, steAt, f) !== 'el2'
      for (let index = 0; index < 16; index++) {
        const p = getBits(cd, CD.fields.PIIP.lsb + index * 3 + 2, CD.fields.PIIP.lsb + index * 3, at)
        const u = getBits(cd, CD.fields.PIIU.lsb + index * 3 + 2, CD.fields.PIIU.lsb + index * 3, at)
        if ((p & 0b101) === 0b100) return true
        if (unprivileged && ((u & 0b101) === 0b100 || ((p & 0b010) !== 0 && (u & 0b100) !== 0))) return true
      }
      return false
    },
  },
]
