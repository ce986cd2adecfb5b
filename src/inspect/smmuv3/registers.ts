/** The SMMU's registers as the graph shows them, and what is wrong in them. Arm IHI 0070, chapter 6. */
import { describe, getField, type Layout, wordsFromU64 } from '../../base/layout.ts'
import {
  CMDQ_CONS,
  CMDQ_PROD,
  CR0,
  EVENTQ_CONS,
  EVENTQ_PROD,
  GBPA,
  GERROR,
  PRIQ_CONS,
  PRIQ_PROD,
  REGISTERS,
  registerNamed,
} from '../../format/smmuv3/registers.ts'
import type { RegisterView } from '../graph.ts'
import type { Findings, MachineSource } from '../source.ts'

/** Registers by name, zero where the source does not know them. */
export class RegisterFile {
  readonly #source: MachineSource

  constructor(source: MachineSource) {
    this.#source = source
  }

  /** The value, and whether it is known. */
  known(name: string): boolean {
    const { offset, bytes } = registerNamed(name)
    return this.#source.register(offset, bytes) !== null
  }

  value(name: string): bigint {
    const { offset, bytes } = registerNamed(name)
    return this.#source.register(offset, bytes) ?? 0n
  }

  number(name: string): number {
    return Number(this.value(name))
  }

  /** One field, as a number. */
  field<L extends Layout>(layout: L, field: keyof L['fields'] & string): number {
    return Number(getField(wordsFromU64([this.value(layout.name)]), layout.fields[field]!))
  }

  views(): RegisterView[] {
    const out: RegisterView[] = []
    for (const { name, offset, bytes, layout } of REGISTERS) {
      const value = this.#source.register(offset, bytes)
      if (value !== null) out.push({ name, offset, value, fields: describe(layout, wordsFromU64([value])) })
    }
    return out
  }
}

/** Errors that the registers report, and queues that are not empty. */
export function registerFindings(registers: RegisterFile, findings: Findings): void {
  for (const name of ['STRTAB_BASE', 'STRTAB_BASE_CFG', 'CR0', 'IDR0', 'IDR1', 'IDR5']) {
    if (!registers.known(name))
      findings.add('error', `SMMU_${name}`, 'its value is not known: what follows from it is read as zero', 'unknown register')
  }
  // 6.3.19: an error is active while its bits in GERROR and GERRORN differ.
  const active = registers.value('GERROR') ^ registers.value('GERRORN')
  const errors = describe(GERROR, wordsFromU64([active])).filter(({ value }) => value !== 0)
  for (const { name, doc } of errors) findings.add('error', `SMMU_${GERROR.name}.${name}`, `active: ${doc}`, 'gerror')
  if (errors.some(({ name }) => name === 'CMDQ_ERR')) {
    const error = registers.field(CMDQ_CONS, 'ERR')
    const what = CMDQ_CONS.fields.ERR.names[error as 0] ?? `reserved error ${error}`
    findings.add(
      'error',
      'command queue',
      `stopped at index ${registers.field(CMDQ_CONS, 'RD') & 0x7ffff} with ${what}`,
      'gerror',
    )
  }
  if (registers.field(CMDQ_PROD, 'WR') !== registers.field(CMDQ_CONS, 'RD'))
    findings.add('note', 'command queue', 'commands wait to be consumed', 'cmdq')
  for (const [prod, cons, what] of [
    [EVENTQ_PROD, EVENTQ_CONS, 'event queue'],
    [PRIQ_PROD, PRIQ_CONS, 'PRI queue'],
  ] as const) {
    if (registers.field(prod, 'OVFLG') !== registers.field(cons, 'OVACKFLG'))
      findings.add('error', what, 'overflowed, and software has not acknowledged it: records are lost', 'overflow')
  }
  if (registers.field(CR0, 'SMMUEN') === 0) {
    const aborts = registers.field(GBPA, 'ABORT') === 1
    findings.add(
      'warning',
      `SMMU_${CR0.name}.SMMUEN`,
      `translation is off: all traffic ${aborts ? 'is aborted' : 'passes'} (GBPA)`,
      'off',
    )
  }
}
