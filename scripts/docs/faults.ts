/** The tables of docs/faults.md: each event, reason and cause, and whether a model raises it. */
import type { Layout } from '../../src/base/layout.ts'
import { DTE_RULES } from '../../src/format/amdvi/check.ts'
import { EVENTS as AMD_EVENTS, REQUEST_TYPES } from '../../src/format/amdvi/events.ts'
import { CAUSES, reportedDespiteDtf } from '../../src/format/riscv/records.ts'
import { CQCSR, FQCSR, PQCSR } from '../../src/format/riscv/registers.ts'
import { EVENTS as SMMU_EVENTS } from '../../src/format/smmuv3/events.ts'
import { CMDQ_CONS } from '../../src/format/smmuv3/registers.ts'
import { FAULT_REASONS } from '../../src/format/vtd/faults.ts'
import { FSTS, IQERCD } from '../../src/format/vtd/registers.ts'
import { NOT_RAISED as AMD_NOT_RAISED } from '../../src/model/amdvi/not-raised.ts'
import type { NotRaised } from '../../src/model/common/not-raised.ts'
import { NOT_RAISED as RISCV_NOT_RAISED } from '../../src/model/riscv/not-raised.ts'
import { NOT_RAISED as SMMU_NOT_RAISED } from '../../src/model/smmuv3/not-raised.ts'
import { NOT_RAISED as VTD_NOT_RAISED } from '../../src/model/vtd/not-raised.ts'
import { type Blocks, table } from './blocks.ts'

const hex = (code: number) => `0x${code.toString(16).padStart(2, '0')}`

/** `yes`, or why not. */
function raised(list: readonly NotRaised[]): (code: number) => string {
  const never = new Map(list.map(({ code, why }) => [code, why]))
  return (code) => (never.has(code) ? `no: ${never.get(code)}` : 'yes')
}

function smmuv3(): string {
  const model = raised(SMMU_NOT_RAISED)
  const rows = [...SMMU_EVENTS.values()].map(({ number, name, section, meaning }) => [
    ...[hex(number), `\`${name}\``, meaning, section, model(number)],
  ])
  return table(['event', 'name', 'meaning', 'section', 'model'], rows)
}

function vtd(): string {
  const model = raised(VTD_NOT_RAISED)
  const rows = FAULT_REASONS.map(({ code, name, condition, qualified, group }) => [
    ...[hex(code), name, condition, group, qualified ? 'no' : 'yes', model(code)],
  ])
  return table(['reason', 'name', 'condition', 'about', 'recorded with FPD = 1', 'model'], rows)
}

function amdvi(): string {
  const model = raised(AMD_NOT_RAISED)
  const rows = [...AMD_EVENTS.values()].map(({ code, name, section, what }) => [
    `${code}`,
    `\`${name}\``,
    what,
    section,
    model(code),
  ])
  return table(['event', 'name', 'meaning', 'section', 'model'], rows)
}

function requestTypes(): string {
  const rows = REQUEST_TYPES.flatMap((types, tr) => Object.entries(types).map(([type, what]) => [`${tr}`, type, what]))
  return table(['TR', 'Type', 'the device sent'], rows)
}

function dteRules(): string {
  return DTE_RULES.flatMap((rule) => (rule.text === '' ? [] : [`- ${rule.text}`])).join('\n')
}

function riscv(): string {
  const model = raised(RISCV_NOT_RAISED)
  const rows = Object.entries(CAUSES).map(([cause, name]) => [
    ...[cause, name, reportedDespiteDtf(Number(cause)) ? 'yes' : 'no', model(Number(cause))],
  ])
  return table(['cause', 'name', 'reported with DTF = 1', 'model'], rows)
}

/** Fields of registers that say that a queue has trouble: each value that is an error, each flag. */
function queueErrors(): string {
  const values = (of: string, register: string, field: string, names: Readonly<Record<number, string>>) =>
    Object.entries(names).flatMap(([value, name]) => (value === '0' ? [] : [[of, `\`${register}.${field}\` = ${value}`, name]]))
  const flags = (of: string, { name, fields }: Layout, wanted: RegExp) =>
    Object.entries(fields).flatMap(([field, { doc }]) => (wanted.test(field) ? [[of, `\`${name}.${field}\``, doc]] : []))
  const risc = [CQCSR, FQCSR, PQCSR].flatMap((csr) => flags('RISC-V IOMMU', csr, /(mf|of|_to|_ill)$/))
  return table(
    ['', 'where', 'meaning'],
    [
      ...values('Arm SMMUv3', 'CMDQ_CONS', 'ERR', CMDQ_CONS.fields.ERR.names),
      ...flags('Intel VT-d', FSTS, /^(PFO|IQE|ICE|ITE)$/),
      ...values('Intel VT-d', 'IQERCD', 'IQEI', IQERCD.fields.IQEI.names),
      ...risc,
    ],
  )
}

export const FAULT_BLOCKS: Blocks = {
  'smmuv3-events': smmuv3,
  'vtd-reasons': vtd,
  'amdvi-events': amdvi,
  'amdvi-request-types': requestTypes,
  'amdvi-dte-rules': dteRules,
  'riscv-causes': riscv,
  'queue-errors': queueErrors,
}

/** How many there are, for the table of architectures. */
export const FAULT_COUNTS = {
  smmuv3: SMMU_EVENTS.size,
  vtd: FAULT_REASONS.length,
  amdvi: AMD_EVENTS.size,
  riscv: Object.keys(CAUSES).length,
}
