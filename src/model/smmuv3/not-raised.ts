/** Events that the model never records, and why. Every other entry of EVENTS has a test that raises it. Arm IHI 0070, 7.3. */
import * as ev from '../../format/smmuv3/events.ts'
import type { NotRaised } from '../common/not-raised.ts'

export const NOT_RAISED: readonly NotRaised[] = [
  { code: ev.F_UUT, why: 'every transaction that a device of the model can send is of a supported kind' },
  {
    code: ev.F_TLB_CONFLICT,
    why: 'a lookup in the TLB of the model takes one entry and never finds two that contradict each other',
  },
  {
    code: ev.F_CFG_CONFLICT,
    why: 'a configuration is cached once for each StreamID and SubstreamID, so that no two can contradict',
  },
  { code: ev.F_VMS_FETCH, why: 'the model has no virtual machine structures (VMS), so none is fetched' },
]
