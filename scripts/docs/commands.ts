/** The table of commands in docs/architectures.md: what each queue's commands are for. Every command must have its row. */
import * as amd from '../../src/format/amdvi/commands.ts'
import { ATS, IODIR, IOFENCE, IOTINVAL } from '../../src/format/riscv/commands.ts'
import * as smmu from '../../src/format/smmuv3/commands.ts'
import * as vtd from '../../src/format/vtd/descriptors.ts'
import { table } from './blocks.ts'
import { HEAD } from './limits.ts'

/** For each architecture: opcodes, or types, that do it; RISC-V's are told by group and function. */
interface Row {
  readonly what: string
  readonly smmuv3: readonly number[]
  readonly vtd: readonly number[]
  readonly amdvi: readonly number[]
  readonly riscv: readonly string[]
}

const ROWS: readonly Row[] = [
  {
    what: 'drop a cached device table entry',
    smmuv3: [smmu.CMD_CFGI_STE, smmu.CMD_CFGI_STE_RANGE],
    vtd: [vtd.TYPE_CONTEXT_CACHE],
    amdvi: [amd.OP_INVALIDATE_DEVTAB_ENTRY],
    riscv: ['IODIR.INVAL_DDT'],
  },
  {
    what: 'drop a cached PASID table entry',
    smmuv3: [smmu.CMD_CFGI_CD, smmu.CMD_CFGI_CD_ALL],
    vtd: [vtd.TYPE_PASID_CACHE],
    amdvi: [amd.OP_INVALIDATE_IOMMU_PAGES],
    riscv: ['IODIR.INVAL_PDT'],
  },
  {
    what: 'drop translations of the first stage: by address, by tag',
    smmuv3: [smmu.CMD_TLBI_NH_VA, smmu.CMD_TLBI_NH_VAA, smmu.CMD_TLBI_NH_ASID, smmu.CMD_TLBI_NH_ALL],
    vtd: [vtd.TYPE_PASID_IOTLB],
    amdvi: [amd.OP_INVALIDATE_IOMMU_PAGES],
    riscv: ['IOTINVAL.VMA'],
  },
  {
    what: 'drop translations of the second stage',
    smmuv3: [smmu.CMD_TLBI_S2_IPA, smmu.CMD_TLBI_S12_VMALL],
    vtd: [vtd.TYPE_IOTLB],
    amdvi: [amd.OP_INVALIDATE_IOMMU_PAGES],
    riscv: ['IOTINVAL.GVMA'],
  },
  {
    what: 'drop all translations',
    smmuv3: [smmu.CMD_TLBI_NSNH_ALL],
    vtd: [vtd.TYPE_IOTLB],
    amdvi: [amd.OP_INVALIDATE_IOMMU_ALL],
    riscv: ['IOTINVAL.VMA', 'IOTINVAL.GVMA'],
  },
  {
    what: 'translations of EL2 and EL3, and of the secure state',
    smmuv3: [...smmu.COMMANDS.keys()].filter((code) => /_(EL2|EL3|S_S2|S_S12|SNH)_/.test(smmu.COMMANDS.get(code)!.name)),
    vtd: [],
    amdvi: [],
    riscv: [],
  },
  {
    what: 'drop what a device caches (ATS)',
    smmuv3: [smmu.CMD_ATC_INV],
    vtd: [vtd.TYPE_DEVICE_TLB, vtd.TYPE_PASID_DEVICE_TLB],
    amdvi: [amd.OP_INVALIDATE_IOTLB_PAGES],
    riscv: ['ATS.INVAL'],
  },
  {
    what: 'drop interrupt remapping entries',
    smmuv3: [],
    vtd: [vtd.TYPE_INTERRUPT_ENTRY],
    amdvi: [amd.OP_INVALIDATE_INTERRUPT_TABLE],
    riscv: ['IOTINVAL.GVMA'],
  },
  {
    what: 'answer a page request',
    smmuv3: [smmu.CMD_PRI_RESP],
    vtd: [vtd.TYPE_PAGE_GROUP_RESPONSE],
    amdvi: [amd.OP_COMPLETE_PPR_REQUEST],
    riscv: ['ATS.PRGR'],
  },
  { what: 'answer a stalled transaction', smmuv3: [smmu.CMD_RESUME, smmu.CMD_STALL_TERM], vtd: [], amdvi: [], riscv: [] },
  {
    what: 'wait for the commands before it',
    smmuv3: [smmu.CMD_SYNC],
    vtd: [vtd.TYPE_WAIT],
    amdvi: [amd.OP_COMPLETION_WAIT],
    riscv: ['IOFENCE.C'],
  },
  {
    what: 'load before it is needed',
    smmuv3: [smmu.CMD_PREFETCH_CONFIG, smmu.CMD_PREFETCH_ADDR],
    vtd: [],
    amdvi: [amd.OP_PREFETCH_IOMMU_PAGES],
    riscv: [],
  },
  {
    what: 'for virtual machines',
    smmuv3: [smmu.CMD_CFGI_VMS_PIDM],
    vtd: [],
    amdvi: [amd.OP_INSERT_GUEST_EVENT, amd.OP_RESET_VMMIO],
    riscv: [],
  },
]

const RISCV_NAMES = [IOTINVAL, IOFENCE, IODIR, ATS].flatMap(({ name, fields }) =>
  Object.values(fields.func3.names).map((each) => `${name}.${each}`),
)

/** Names in the order of a row; each command of the list must be in one. @throws Error for one that has no row. */
function column<T>(name: string, all: readonly T[], of: (row: Row) => readonly T[], text: (one: T) => string): string[] {
  const placed = new Set(ROWS.flatMap(of))
  for (const one of all) if (!placed.has(one)) throw new Error(`scripts/docs/commands.ts: ${name} ${text(one)} has no row`)
  for (const one of placed) if (!all.includes(one)) throw new Error(`scripts/docs/commands.ts: ${name} has no ${String(one)}`)
  return ROWS.map((row) => {
    const names = of(row).map((one) => `\`${text(one)}\``)
    return names.length === 0 ? '–' : names.join(', ')
  })
}

export function commandTable(): string {
  const columns = [
    ROWS.map(({ what }) => what),
    column(
      'SMMUv3',
      [...smmu.COMMANDS.keys()],
      ({ smmuv3 }) => smmuv3,
      (code) => smmu.COMMANDS.get(code)?.name ?? `${code}`,
    ),
    column(
      'VT-d',
      Object.keys(vtd.DESCRIPTORS).map(Number),
      (row) => row.vtd,
      (code) => vtd.DESCRIPTORS[code]?.name ?? `${code}`,
    ),
    column(
      'AMD-Vi',
      [...amd.COMMANDS.keys()],
      ({ amdvi }) => amdvi,
      (code) => amd.COMMANDS.get(code)?.name ?? `${code}`,
    ),
    column(
      'RISC-V',
      RISCV_NAMES,
      ({ riscv }) => riscv,
      (name) => name,
    ),
  ]
  return table(
    HEAD,
    ROWS.map((_, row) => columns.map((cells) => cells[row]!)),
  )
}
