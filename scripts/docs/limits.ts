/** Generated rows of docs/architectures.md: sizes and widths, out of the declarations of `src/format/`. */
import type { Field, Layout } from '../../src/base/layout.ts'
import { getNumber } from '../../src/base/layout.ts'
import * as amdCommand from '../../src/format/amdvi/commands.ts'
import { DTE } from '../../src/format/amdvi/dte.ts'
import { EVENT_IO_PAGE_FAULT } from '../../src/format/amdvi/events.ts'
import { GCR3_ENTRY, GCR3_POINTER, gcr3Bits } from '../../src/format/amdvi/gcr3.ts'
import { IRTE32, IRTE128 } from '../../src/format/amdvi/irte.ts'
import { PPR_ENTRY } from '../../src/format/amdvi/ppr.ts'
import { REGISTERS as AMD_REGISTERS, CMD_BUF_BASE, EVT_LOG_BASE, PPR_LOG_BASE } from '../../src/format/amdvi/registers.ts'
import { IOFENCE } from '../../src/format/riscv/commands.ts'
import { DC, DC_BASE, DDTE, PC, PDTE } from '../../src/format/riscv/contexts.ts'
import { MSI_PTE_FLAT } from '../../src/format/riscv/msi.ts'
import { FAULT_RECORD as RISCV_FAULT, PAGE_REQUEST as RISCV_REQUEST } from '../../src/format/riscv/records.ts'
import { CQB, FQB, PQB } from '../../src/format/riscv/registers.ts'
import { CD } from '../../src/format/smmuv3/cd.ts'
import * as smmuCommand from '../../src/format/smmuv3/commands.ts'
import { EVENT_F_TRANSLATION } from '../../src/format/smmuv3/events.ts'
import { GENEROUS_IDR } from '../../src/format/smmuv3/features.ts'
import { L1CD, L1STD } from '../../src/format/smmuv3/l1.ts'
import { PRI } from '../../src/format/smmuv3/pri.ts'
import { IDR1 } from '../../src/format/smmuv3/registers.ts'
import { STE } from '../../src/format/smmuv3/ste.ts'
import { CONTEXT_ENTRY, pasidLimit, SM_CONTEXT_ENTRY } from '../../src/format/vtd/contexts.ts'
import { INV_WAIT_DSC, PAGE_GRP_RESP_DSC } from '../../src/format/vtd/descriptors.ts'
import { IRTE_REMAPPED, PI_DESCRIPTOR } from '../../src/format/vtd/irte.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from '../../src/format/vtd/pasid.ts'
import { FAULT_RECORD as VTD_FAULT, PAGE_REQUEST as VTD_REQUEST } from '../../src/format/vtd/records.ts'
import { CAP, IQA, PQA } from '../../src/format/vtd/registers.ts'
import { ROOT_ENTRY } from '../../src/format/vtd/root.ts'
import { table } from './blocks.ts'
import { FAULT_COUNTS } from './faults.ts'

export const HEAD: readonly string[] = ['', 'Arm SMMUv3', 'Intel VT-d', 'AMD-Vi', 'RISC-V IOMMU']

const bytes = ({ bits }: Layout) => `${bits / 8} bytes`
const width = ({ msb, lsb }: Field) => msb - lsb + 1
/** A structure and its size. */
const sized = (name: string, form: Layout) => `${name}, ${bytes(form)}`
/** Bits of fields: `ASID 16, VMID 16`. */
const widths = (fields: Readonly<Record<string, Field>>) =>
  Object.entries(fields)
    .map(([name, field]) => `${name} ${width(field)}`)
    .join(', ')
const largest = (field: Field) => 2 ** width(field) - 1
/** Bits of what two fields hold together. */
const together = (...fields: readonly Field[]) => fields.reduce((sum, field) => sum + width(field), 0)

const idr1 = (field: keyof typeof IDR1.fields) => getNumber(Uint32Array.of(GENEROUS_IDR.IDR1), IDR1.fields[field])
const entries = (log2: number) => `2^${log2}`
const amdRing = (field: Field) => entries(Math.max(...Object.keys(field.kind === 'oneOf' ? field.names : {}).map(Number)))
const PAGE_LOG2 = 12
const vtdRing = (field: Field, entry: Layout) => entries(largest(field) + PAGE_LOG2 - Math.log2(entry.bits / 8))
const riscvRing = (field: Field) => entries(largest(field) + 1)

/** The first segment of the device table has a register of another name. */
const amdSegments = AMD_REGISTERS.filter(({ name }) => name.startsWith('DEV_TAB_SEG')).length + 1

/** PD8, PD17, PD20. */
const riscvDirectories = Object.values(DC.fields['fsc.MODE'].names).filter((name) => name.startsWith('PD'))

/** PDTS: directories of 2^(PDTS + 7) entries, of 64 PASIDs each. */
const vtdPasids = `${Math.log2(pasidLimit(0))} to ${Math.log2(pasidLimit(7))} bits, a directory and tables of 64`

function tables(): string {
  return table(HEAD, [
    [
      'device id, bits',
      `up to ${idr1('SIDSIZE')}`,
      `${width(VTD_FAULT.fields.SID)}, with a segment above`,
      `${width(EVENT_IO_PAGE_FAULT.fields.DeviceID)}, with a segment above`,
      `up to ${width(RISCV_FAULT.fields.DID)}`,
    ],
    [
      'device table entry',
      sized('STE', STE),
      `context entry, ${bytes(CONTEXT_ENTRY)} (legacy) or ${bytes(SM_CONTEXT_ENTRY)} (scalable)`,
      sized('DTE', DTE),
      `DC, ${bytes(DC_BASE)}, or ${bytes(DC)} with MSI page tables`,
    ],
    [
      'tables above the device table entry',
      `none, or one of ${sized('L1STD', L1STD)}`,
      `one, always: ${sized('root entry', ROOT_ENTRY)}`,
      `none; up to ${amdSegments} segments`,
      `none, one or two of ${sized('DDTE', DDTE)}`,
    ],
    [
      'PASID, bits',
      `up to ${idr1('SSIDSIZE')}`,
      `up to ${width(VTD_REQUEST.fields.PASID)}; none in legacy mode`,
      `up to ${together(PPR_ENTRY.fields['PASID[15:0]'], PPR_ENTRY.fields['PASID[19:16]'])}`,
      `up to ${width(RISCV_FAULT.fields.PID)}`,
    ],
    [
      'PASID table entry',
      sized('CD', CD),
      sized('PASID table entry', PASID_ENTRY),
      sized('GCR3 entry', GCR3_ENTRY),
      sized('PC', PC),
    ],
    [
      'tables above the PASID table entry',
      `none, or one of ${sized('L1CD', L1CD)}`,
      `one, always: ${sized('directory entry', PASID_DIR_ENTRY)}`,
      `none, one or two of ${bytes(GCR3_POINTER)}`,
      `none, one or two of ${sized('PDTE', PDTE)}`,
    ],
    [
      'PASIDs of a table',
      `0 to ${idr1('SSIDSIZE')} bits (S1CDMax)`,
      vtdPasids,
      `${[0, 1, 2].map(gcr3Bits).join(', ')} bits by levels (GLX)`,
      `${riscvDirectories.map((name) => name.slice(2)).join(', ')} bits by levels (${riscvDirectories.join(', ')})`,
    ],
    [
      'tags of cached translations, bits',
      widths({ ASID: CD.fields.ASID, VMID: STE.fields.S2VMID }),
      widths({ DID: PASID_ENTRY.fields.DID, PASID: VTD_REQUEST.fields.PASID }),
      `${widths({ DomainID: DTE.fields.DomainID })}, PASID ${width(amdCommand.INVALIDATE_IOMMU_PAGES.fields.PASID)}`,
      widths({ PSCID: PC.fields['ta.PSCID'], GSCID: DC.fields['iohgatp.GSCID'] }),
    ],
  ])
}

function queues(): string {
  return table(HEAD, [
    [
      'command',
      bytes(smmuCommand.SYNC),
      `${bytes(INV_WAIT_DSC)}, or ${bytes(PAGE_GRP_RESP_DSC)} (IQA.DW = 1)`,
      bytes(amdCommand.COMPLETION_WAIT),
      bytes(IOFENCE),
    ],
    [
      'largest command queue, entries',
      entries(idr1('CMDQS')),
      `${vtdRing(IQA.fields.QS, INV_WAIT_DSC)}, or ${vtdRing(IQA.fields.QS, PAGE_GRP_RESP_DSC)}`,
      amdRing(CMD_BUF_BASE.fields.Len),
      riscvRing(CQB.fields['LOG2SZ-1']),
    ],
    [
      'fault record',
      `event, ${bytes(EVENT_F_TRANSLATION)}`,
      `fault recording register, ${bytes(VTD_FAULT)}`,
      `event, ${bytes(EVENT_IO_PAGE_FAULT)}`,
      `record, ${bytes(RISCV_FAULT)}`,
    ],
    [
      'most fault records',
      entries(idr1('EVENTQS')),
      `${largest(CAP.fields.NFR) + 1} registers (CAP.NFR)`,
      amdRing(EVT_LOG_BASE.fields.Len),
      riscvRing(FQB.fields['LOG2SZ-1']),
    ],
    [
      'kinds of faults, [all of them](faults.md)',
      ...(['smmuv3', 'vtd', 'amdvi', 'riscv'] as const).map((kind) => `${FAULT_COUNTS[kind]}`),
    ],
    ['page request', bytes(PRI), bytes(VTD_REQUEST), bytes(PPR_ENTRY), bytes(RISCV_REQUEST)],
    [
      'largest page request queue, entries',
      entries(idr1('PRIQS')),
      vtdRing(PQA.fields.PQS, VTD_REQUEST),
      amdRing(PPR_LOG_BASE.fields.Len),
      riscvRing(PQB.fields['LOG2SZ-1']),
    ],
    [
      'page request groups, bits',
      `${width(PRI.fields.PRGIndex)}`,
      `${width(VTD_REQUEST.fields.PRGI)}`,
      `${width(PPR_ENTRY.fields.PPRTag) - 1}, and the last-request bit, in one tag`,
      `${width(RISCV_REQUEST.fields.PRGI)}`,
    ],
    [
      'interrupt remapping entry',
      'none: the ITS of the GIC does it',
      `${sized('IRTE', IRTE_REMAPPED)}; posted-interrupt descriptor, ${bytes(PI_DESCRIPTOR)}`,
      `IRTE, ${bytes(IRTE32)} or ${bytes(IRTE128)}`,
      sized('MSI PTE', MSI_PTE_FLAT),
    ],
  ])
}

export const LIMIT_BLOCKS = { tables, queues }
