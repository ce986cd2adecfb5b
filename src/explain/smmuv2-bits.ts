/** Fault registers of SMMUv1 and v2. Arm IHI 0062, 16.5.5 SMMU_CBn_FSR, 16.5.7 SMMU_CBn_FSYNR0, 9.6.14 SMMU_sGFSR, 9.6.17 SMMU_sGFSYNR0. */

const bit = (index: number) => 2 ** index

/** FSR, in the order in which Linux names them. */
export const FSR_FLAGS = [
  ['MULTI', bit(31)],
  ['SS', bit(30)],
  ['UUT', bit(8)],
  ['ASF', bit(7)],
  ['TLBLKF', bit(6)],
  ['TLBMCF', bit(5)],
  ['EF', bit(4)],
  ['PF', bit(3)],
  ['AFF', bit(2)],
  ['TF', bit(1)],
] as const

const FSR_NAMES: readonly (readonly [number, string])[] = [
  [bit(1), 'Translation fault'],
  [bit(2), 'Access flag fault'],
  [bit(3), 'Permission fault'],
  [bit(4), 'External fault'],
  [bit(5), 'TLB match conflict fault'],
  [bit(6), 'TLB lock fault'],
  [bit(7), 'Address size fault'],
  [bit(8), 'Unsupported upstream transaction'],
]

export const GFSR_FLAGS = [
  ['MULTI', bit(31)],
  ['UUT', bit(8)],
  ['PF', bit(7)],
  ['EF', bit(6)],
  ['CAF', bit(5)],
  ['UCIF', bit(4)],
  ['UCBF', bit(3)],
  ['SMCF', bit(2)],
  ['USF', bit(1)],
  ['ICF', bit(0)],
] as const

const GFSR_NAMES: readonly (readonly [number, string])[] = [
  [bit(0), 'Invalid context fault'],
  [bit(1), 'Unidentified stream fault'],
  [bit(2), 'Stream match conflict fault'],
  [bit(3), 'Unimplemented context bank fault'],
  [bit(4), 'Unimplemented context interrupt fault'],
  [bit(5), 'Configuration access fault'],
  [bit(6), 'External fault'],
  [bit(7), 'Permission fault'],
  [bit(8), 'Unsupported upstream transaction'],
]

/** FSR.FORMAT, bits 10:9. */
const FORMATS = ['AArch32 short descriptors', 'AArch32 long descriptors', 'AArch64', null] as const

const isSet = (value: number, mask: number) => Math.floor(value / mask) % 2 === 1

/** Names of the bits that are set; bit 31 makes these numbers too large for bit operators. */
export function bitsOf(value: number, flags: readonly (readonly [string, number])[]): string[] {
  return flags.filter(([, mask]) => isSet(value, mask)).map(([name]) => name)
}

function nameOf(value: number, names: readonly (readonly [number, string])[]): string | null {
  const found = names.filter(([mask]) => isSet(value, mask)).map(([, name]) => name)
  return found.length === 0 ? null : found.join(', ')
}

/** What a context fault is called; null when no bit says. */
export function fsrName(fsr: number): string | null {
  return nameOf(fsr, FSR_NAMES)
}

/** What a global fault is called; null when no bit says: MULTI alone. */
export function gfsrName(gfsr: number): string | null {
  return nameOf(gfsr, GFSR_NAMES)
}

export function fsrFormat(fsr: number): string | null {
  return FORMATS[(fsr >>> 9) & 3] ?? null
}

/** Parts of FSYNR0. */
export function fsynr0Fields(fsynr0: number): Record<string, unknown> {
  return {
    level: fsynr0 & 3,
    privileged: isSet(fsynr0, bit(5)),
    instruction: isSet(fsynr0, bit(6)),
    nsstate: isSet(fsynr0, bit(7)),
    s1cbndx: (fsynr0 >>> 16) & 0xff,
  }
}

/** What was tried, by FSYNR0: WNR bit 4, IND bit 6. */
export function fsynr0Access(fsynr0: number): 'read' | 'write' | 'execute' {
  return isSet(fsynr0, bit(4)) ? 'write' : isSet(fsynr0, bit(6)) ? 'execute' : 'read'
}

/** The same by GFSYNR0: WNR bit 1, IND bit 3. */
export function gfsynr0Access(gfsynr0: number): 'read' | 'write' | 'execute' {
  return isSet(gfsynr0, bit(1)) ? 'write' : isSet(gfsynr0, bit(3)) ? 'execute' : 'read'
}
