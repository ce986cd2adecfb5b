/** How the SMMU's queues and global errors are read. Arm IHI 0070, 3.5.4, 6.3.19, 7, 8. */
import type { FaultReport } from '../../core/driver.ts'
import { GERROR, GERRORN } from '../../format/smmuv3/registers.ts'
import { type FaultDecoding, report } from '../common/fault-queues.ts'
import { pageResponse, resume } from './commands.ts'
import { decodeEvent, decodePageRequest } from './faults.ts'
import type { Registers } from './registers.ts'

export function faultDecoding(registers: Registers): FaultDecoding {
  return {
    pageRequests: 'PRI',
    idName: 'stream',
    lost: { name: 'EVENTQ_OVERFLOW', text: 'the event queue overflowed: events were lost' },
    event: decodeEvent,
    pageRequest: decodePageRequest,
    errors: () => globalErrors(registers),
    refuseStall: ({ device, stallTag }) => resume(device, stallTag, 'invalid'),
    refusePages: ({ device, pasid, group }) => pageResponse(device, pasid, group, 'failure'),
  }
}

/** 6.3.19: an error is active while GERROR and GERRORN differ. Those of the command queue are the queue's to deal with. */
function globalErrors(registers: Registers): FaultReport[] {
  const gerror = registers.fields(GERROR)
  const acknowledged = registers.fields(GERRORN)
  const reports: FaultReport[] = []
  for (const name of Object.keys(GERROR.fields) as (keyof typeof GERROR.fields)[]) {
    if (gerror[name] === acknowledged[name] || name === 'CMDQ_ERR') continue
    reports.push(report(`GERROR.${name}`, 0, GERROR.fields[name].doc, []))
    registers.write('GERRORN', registers.read('GERRORN') ^ (1 << GERROR.fields[name].lsb))
  }
  return reports
}
