/** What is wrong in the SMMU's registers. Arm IHI 0070, chapter 6. */
import { describe, wordsFromU64 } from '../../base/layout.ts'
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
} from '../../format/smmuv3/registers.ts'
import type { RegisterFile } from '../registers.ts'
import type { Findings } from '../source.ts'

/** Errors that the registers report, and queues that are not empty. */
export function registerFindings(registers: RegisterFile, findings: Findings): void {
  registers.reportUnknown(['STRTAB_BASE', 'STRTAB_BASE_CFG', 'CR0', 'IDR0', 'IDR1', 'IDR5'], findings, 'SMMU_')
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
