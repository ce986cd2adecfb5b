/** Reset and enable. AMD IOMMU specification (48882), 2.2.1, 2.4, 2.5, 2.6, 3.4.1 to 3.4.3. */
import { type Op, waitFor } from '../../base/op.ts'
import { DTE_BYTES } from '../../format/amdvi/dte.ts'
import {
  CMD_BUF_BASE,
  DEV_TAB_BASE,
  EVT_LOG_BASE,
  PPR_LOG_BASE,
  REG,
  STATUS_CMD_BUF_RUN,
  STATUS_COM_WAIT_INT,
  STATUS_EVENT_LOG_INT,
  STATUS_EVENT_LOG_RUN,
  STATUS_EVENT_OVERFLOW,
  STATUS_PPR_INT,
  STATUS_PPR_OVERFLOW,
  STATUS_PPR_RUN,
} from '../../format/amdvi/registers.ts'
import type { CommandRing } from '../common/command-ring.ts'
import type { RecordQueue } from '../common/record-queue.ts'
import { invalidateAll, invalidateDevice, invalidatePages } from './commands.ts'
import type { Abilities, Registers } from './registers.ts'
import type { DeviceTable } from './tables.ts'

export interface Structures {
  readonly devices: DeviceTable
  readonly commands: CommandRing
  readonly events: RecordQueue
  /** Null: the IOMMU has no page requests. */
  readonly pages: RecordQueue | null
}

const RUNNING = STATUS_CMD_BUF_RUN | STATUS_EVENT_LOG_RUN | STATUS_PPR_RUN
const OLD_NEWS = STATUS_EVENT_OVERFLOW | STATUS_EVENT_LOG_INT | STATUS_COM_WAIT_INT | STATUS_PPR_OVERFLOW | STATUS_PPR_INT
const DOMAIN_IDS = 0x10000

/**
 * Brings the IOMMU from any state to one that translates by these structures. Where it is on already, it stays on: while it is off everything
 * passes. The exclusion range goes, and the device table has one segment.
 */
export function* setUp(registers: Registers, abilities: Abilities, given: Structures): Op<void> {
  const { devices, commands, events, pages } = given
  const { control, autoResponse } = abilities
  registers.control(['CmdBufEn', 'EventLogEn', 'PPRLogEn', 'PPREn'], false)
  yield* waitFor('the rings to stop', () => (registers.read('STATUS') & RUNNING) === 0)

  registers.set(DEV_TAB_BASE, { DevTabBase: BigInt(devices.base), Size: devices.bytes / 4096 - 1 })
  registers.writeWide('EXCL_BASE', 0n)
  registers.writeWide('EXCL_LIMIT', 0n)
  setRing(registers, CMD_BUF_BASE, 'CMD', commands)
  setRing(registers, EVT_LOG_BASE, 'EVT', events)
  if (pages !== null) setRing(registers, PPR_LOG_BASE, 'PPR', pages)
  // A request that finds the log full is answered with success: the device tries again, and asks again.
  if (autoResponse) registers.mmio.write(REG.PPR_LOG_AUTO_RSP, 8, 0n)
  registers.write('STATUS', OLD_NEWS)
  registers.writeWide('CONTROL', control)
  yield* waitFor('STATUS.CmdBufRun', () => (registers.read('STATUS') & STATUS_CMD_BUF_RUN) !== 0)

  // Whatever the caches hold is from another life.
  if (abilities.invalidateAll) yield* commands.issueAndSync([invalidateAll()])
  else {
    const entries = devices.bytes / DTE_BYTES
    yield* commands.issue(Array.from({ length: entries }, (_, device) => invalidateDevice(device)))
    yield* commands.issueAndSync(Array.from({ length: DOMAIN_IDS }, (_, domain) => invalidatePages(domain, null, null, true)))
  }
}

/** Where a ring lies; both of its pointers are 0 then. */
function setRing(
  registers: Registers,
  layout: typeof CMD_BUF_BASE,
  name: 'CMD' | 'EVT' | 'PPR',
  { base, log2 }: { readonly base: number; readonly log2: number },
): void {
  registers.set(layout, { Base: BigInt(base), Len: log2 })
  registers.writeWide(`${name}_HEAD`, 0n)
  registers.writeWide(`${name}_TAIL`, 0n)
}
