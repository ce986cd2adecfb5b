/** Fault reasons that the model never reports, and why. Every other entry of FAULT_REASONS has a test that raises it. */
import { FR_SM_TRANSLATED_INTERRUPT_RANGE } from '../../format/vtd/faults.ts'
import type { NotRaised } from '../common/not-raised.ts'

export const NOT_RAISED: readonly NotRaised[] = [
  {
    code: FR_SM_TRANSLATED_INTERRUPT_RANGE,
    why: 'obsolete: since revision 4 a translated request into the interrupt address range is reported as SGN.8 (87h)',
  },
]
