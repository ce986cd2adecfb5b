/** What options and files may say of the registers of each kind of IOMMU. A further kind is one more entry. */
import { encode, type Layout, wordsToU64 } from '../base/layout.ts'
import {
  REGISTERS as AMD_REGISTERS,
  CONTROL_GT_EN,
  CONTROL_IOMMU_EN,
  FULL_EXT_FEATURE,
  FULL_EXT_FEATURE2,
} from '../format/amdvi/registers.ts'
import { FULL_CAPABILITIES, REGISTERS as RISCV_REGISTERS } from '../format/riscv/registers.ts'
import { IDR0, IDR1, IDR3, IDR5, REGISTERS as SMMU_REGISTERS } from '../format/smmuv3/registers.ts'
import { FULL_CAP, FULL_ECAP, GS_RTP, GS_TE, REGISTERS as VTD_REGISTERS } from '../format/vtd/registers.ts'

export interface RegisterPlace {
  readonly name: string
  readonly offset: number
  readonly bytes: 4 | 8
}

/** What is taken for a register of which nothing is said. */
export interface Assumed {
  readonly name: string
  readonly value: bigint
  /** What it comes to, for people. */
  readonly what: string
}

/** Names of the options that give registers. */
export type RegisterFlag = 'smmu' | 'vtd' | 'amdvi' | 'riscv'

export interface RegisterTable {
  readonly kind: string
  /** The option's name: `--smmu`. */
  readonly flag: RegisterFlag
  readonly title: string
  readonly registers: readonly RegisterPlace[]
  /** What people write before or behind a register's name: the manual's prefix. */
  readonly around: RegExp
  /** Other names of registers. */
  readonly aliases: Readonly<Record<string, string>>
  /** The register without which nothing can be read: it says where the tables are. */
  readonly needed: string
  readonly assumed: readonly Assumed[]
  /** e_machine of the CPUs that machines with such an IOMMU have. */
  readonly machines: readonly number[]
  readonly machineName: string
  readonly example: string
}

const placed = ({ name, offset, layout }: { name: string; offset: number; layout: Layout }): RegisterPlace => ({
  name,
  offset,
  bytes: layout.bits === 32 ? 4 : 8,
})
const one = (words: Uint32Array) => wordsToU64(words)[0]!

const EVERYTHING = 'hardware that can do everything'

const SMMUV3: RegisterTable = {
  kind: 'smmuv3',
  flag: 'smmu',
  title: 'Arm SMMUv3',
  registers: SMMU_REGISTERS,
  around: /^SMMU_/,
  aliases: { CFG: 'STRTAB_BASE_CFG', BASE_CFG: 'STRTAB_BASE_CFG', BASE: 'STRTAB_BASE' },
  needed: 'STRTAB_BASE',
  assumed: [
    { name: 'STRTAB_BASE_CFG', value: 0x10210n, what: '2 levels of 2^8 streams, 2^16 streams, as Linux has them for PCI' },
    { name: 'CR0', value: 1n, what: 'translation is on' },
    {
      name: 'IDR0',
      value: one(
        encode(IDR0, {
          ...{ S2P: 1, S1P: 1, TTF: 2, COHACC: 1, BTM: 1, HTTU: 2, Hyp: 1, ATS: 1, ASID16: 1, MSI: 1, SEV: 1, PRI: 1, VMW: 1 },
          ...{ VMID16: 1, CD2L: 1, TTENDIAN: 2, ST_LEVEL: 1 },
        }),
      ),
      what: EVERYTHING,
    },
    {
      name: 'IDR1',
      value: one(encode(IDR1, { SIDSIZE: 32, SSIDSIZE: 20, PRIQS: 19, EVENTQS: 19, CMDQS: 19 })),
      what: EVERYTHING,
    },
    { name: 'IDR3', value: one(encode(IDR3, { HAD: 1, XNX: 1, FWB: 1, RIL: 1, BBML: 2, E0PD: 1 })), what: EVERYTHING },
    {
      name: 'IDR5',
      value: one(encode(IDR5, { OAS: 6, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1, VAX: 1 })),
      what: '52-bit addresses, all granules',
    },
    { name: 'AIDR', value: 2n, what: 'SMMUv3.2' },
  ],
  machines: [183, 40],
  machineName: 'Arm',
  example: '--smmu strtab-base=0x44b72000,strtab-base-cfg=0x10210',
}

const RISCV: RegisterTable = {
  kind: 'riscv',
  flag: 'riscv',
  title: 'RISC-V IOMMU',
  registers: RISCV_REGISTERS.map(placed),
  around: /^IOMMU_/,
  aliases: { CAP: 'capabilities', CAPS: 'capabilities' },
  needed: 'ddtp',
  assumed: [
    { name: 'capabilities', value: FULL_CAPABILITIES, what: `${EVERYTHING}: device contexts of 64 bytes, for MSI_FLAT is 1` },
    { name: 'fctl', value: 0n, what: 'little-endian, MSI' },
  ],
  machines: [243],
  machineName: 'RISC-V',
  example: '--riscv ddtp=0x2041e004',
}

const VTD: RegisterTable = {
  kind: 'vtd',
  flag: 'vtd',
  title: 'Intel IOMMU (VT-d)',
  registers: VTD_REGISTERS.map(placed),
  around: /_REG$/,
  aliases: { RTADDR_REG: 'RTADDR', ROOT: 'RTADDR' },
  needed: 'RTADDR',
  assumed: [
    { name: 'GSTS', value: BigInt((GS_TE | GS_RTP) >>> 0), what: 'translation is on' },
    { name: 'CAP', value: FULL_CAP, what: EVERYTHING },
    { name: 'ECAP', value: FULL_ECAP, what: EVERYTHING },
  ],
  machines: [62, 3],
  machineName: 'x86',
  example: '--vtd rtaddr=0x1a20400,cap=0xd2008c222f0686',
}

const AMDVI: RegisterTable = {
  kind: 'amdvi',
  flag: 'amdvi',
  title: 'AMD IOMMU (AMD-Vi)',
  registers: AMD_REGISTERS.map(placed),
  around: /^(?:MMIO|IOMMU)_|_REG$/,
  aliases: { DEVTAB: 'DEV_TAB_BASE', EFR: 'EXT_FEATURE', EFR2: 'EXT_FEATURE2', CTRL: 'CONTROL' },
  needed: 'DEV_TAB_BASE',
  assumed: [
    { name: 'CONTROL', value: BigInt(CONTROL_IOMMU_EN | CONTROL_GT_EN), what: 'translation is on, guest tables too' },
    { name: 'EXT_FEATURE', value: FULL_EXT_FEATURE, what: EVERYTHING },
    { name: 'EXT_FEATURE2', value: FULL_EXT_FEATURE2, what: EVERYTHING },
  ],
  machines: [62, 3],
  machineName: 'x86',
  example: '--amdvi dev-tab-base=0x1040001ff',
}

export const REGISTER_TABLES: readonly RegisterTable[] = [SMMUV3, VTD, AMDVI, RISCV]

/** `an Arm SMMUv3`, `a RISC-V IOMMU`. */
export function withArticle({ title }: RegisterTable): string {
  return `${/^[AEIO]/.test(title) ? 'an' : 'a'} ${title}`
}

/** e_machine values in words, for findings. */
export const MACHINE_NAMES: Readonly<Record<number, string>> = {
  3: 'an x86 machine (32 bits)',
  40: 'an Arm machine (32 bits)',
  62: 'an x86-64 machine',
  183: 'an AArch64 machine',
  243: 'a RISC-V machine',
}
