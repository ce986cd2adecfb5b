/**
 * The OS side of an Arm SMMUv3 (IHI 0070): what the stream table, PASID tables, page tables, commands and queues of an SMMU are, for the
 * driver that all architectures share.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import type { Mmio } from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import { CMD_BYTES } from '../../format/smmuv3/commands.ts'
import { EVENT_BYTES, EVENT_WORDS } from '../../format/smmuv3/events.ts'
import { featuresFromIdr, type SmmuFeatures, STALL_FORCED, STALL_NEVER } from '../../format/smmuv3/features.ts'
import { PRI_BYTES, PRI_WORDS } from '../../format/smmuv3/pri.ts'
import { AddressSpaces } from '../common/address-spaces.ts'
import { Configuration } from '../common/configuration.ts'
import { type Hardware, TableDriver } from '../common/driver.ts'
import { FaultQueues } from '../common/fault-queues.ts'
import { Invalidation } from '../common/invalidation.ts'
import { allocateQueue } from '../common/queues.ts'
import type { DeviceState } from '../common/state.ts'
import { SharedAsids, spaceFormats } from './address-spaces.ts'
import { commandQueue } from './command-queue.ts'
import { cfgiSteRange, pageResponse, resume, stallTerminate } from './commands.ts'
import { entryFormats } from './configuration.ts'
import { faultDecoding } from './fault-queues.ts'
import { invalidationCommands } from './invalidation.ts'
import { guestCommand } from './nested.ts'
import type { SmmuV3DriverOptions } from './options.ts'
import { outputQueue } from './output-queue.ts'
import { Registers } from './registers.ts'
import { setUp } from './setup.ts'
import { StreamTable } from './stream-table.ts'
import { svaObstacle } from './sva.ts'

export type { BroadcastTlbi, SmmuV3DriverOptions } from './options.ts'

export class SmmuV3Driver extends TableDriver {
  readonly features: SmmuFeatures

  /**
   * Reads what the SMMU can do, and allocates its structures; `init` puts them to use.
   * @throws IommError Unsupported when the options ask for what it has not.
   */
  constructor(mmio: Mmio, memory: WordMemory & PageAllocator, options: SmmuV3DriverOptions = {}) {
    const registers = new Registers(mmio)
    const features = featuresFromIdr((name) => registers.read(name))
    refuseMissing(features, options)
    const devices = new Map<number, DeviceState>()
    super(hardwareOf(registers, features, memory, options, devices), devices)
    this.features = features
  }
}

function hardwareOf(
  registers: Registers,
  features: SmmuFeatures,
  memory: WordMemory & PageAllocator,
  options: SmmuV3DriverOptions,
  devices: ReadonlyMap<number, DeviceState>,
): Hardware {
  const form = options.strtab ?? (features.stream2l ? '2lvl' : 'linear')
  const streams = new StreamTable(memory, memory, Math.min(options.streamIdBits ?? 16, features.sidBits), form)
  const commandPlace = allocateQueue(memory, CMD_BYTES, features.cmdqLog2, options.commandQueueLog2)
  const eventPlace = allocateQueue(memory, EVENT_BYTES, features.eventqLog2, options.eventQueueLog2)
  const priPlace = features.pri ? allocateQueue(memory, PRI_BYTES, features.priqLog2, options.priQueueLog2) : null
  const commands = commandQueue(memory, registers, commandPlace.base, commandPlace.log2, (error) => faults.commandError(error))
  for (const kind of options.forget ?? []) commands.forget.add(kind)
  const events = outputQueue(memory, registers, 'EVENTQ', eventPlace.base, eventPlace.log2, EVENT_WORDS)
  const pri = priPlace === null ? null : outputQueue(memory, registers, 'PRIQ', priPlace.base, priPlace.log2, PRI_WORDS)
  const faults = new FaultQueues(commands, events, pri, (sid) => devices.has(sid), faultDecoding(registers))
  const configuration = new Configuration(memory, commands, entryFormats(memory, features, options.cdtab ?? 'auto'))
  const invalidations = invalidationCommands(features, options.tlbiThreshold ?? 512)
  const invalidation = new Invalidation(commands, invalidations, options.atcInvalidateThreshold ?? 16)
  const formats = spaceFormats(features, options)
  const httu = options.httu === false ? 0 : features.httu
  const asids = new SharedAsids(features, formats.tags, configuration, invalidation, httu)
  const stalls = (stall: boolean) => features.stallModel === STALL_FORCED || (stall && features.stallModel !== STALL_NEVER)
  return {
    name: 'Arm SMMUv3',
    pasidBits: features.s1 ? features.ssidBits : 0,
    reserved: options.reserved ?? [],
    commands,
    configuration,
    invalidation,
    spaces: new AddressSpaces(memory, formats, invalidation),
    faults,
    init: () => setUp(registers, features, { streams, commands, events, pri }, options.btm ?? false),
    svaObstacle: (device, domain, mm) => svaObstacle(features, device, domain, mm),
    deviceEntry(sid) {
      const { entry, grew } = streams.make(sid)
      // A first-level descriptor without entries may be cached as such, for any of the streams that it covers.
      return { entry, forget: grew ? [cfgiSteRange(sid, streams.split)] : [] }
    },
    stageOf({ name, kind }) {
      if (kind !== 'dma' && kind !== 'nested') return null
      const stage = kind === 'nested' || (options.domainStage ?? (features.s1 ? 1 : 2)) === 2 ? 2 : 1
      if (!(stage === 1 ? features.s1 : features.s2))
        throw new IommError('Unsupported', `domain ${name} needs stage ${stage}, which the SMMU has not (SMMU_IDR0.S${stage}P)`)
      return stage
    },
    admit(domain, { name, capabilities }) {
      const stall = stalls(capabilities.stall)
      const others = [...domain.devices].filter(({ device }) => device.name !== name)
      // One CD serves all devices of a domain, and CD.S says for all of them whether a fault waits.
      if (domain.stage2 === null && others.length > 0 && domain.stall !== stall)
        throw new IommError(
          'Unsupported',
          `${name} ${stall ? 'stalls' : 'does not stall'} on faults, the devices of domain ${domain.domain.name} ${stall ? 'do not' : 'do'}; give it a domain of its own`,
        )
      domain.stall = stall
    },
    tableFor: () => false,
    *endWaits({ id, capabilities }) {
      // 4.7.2: once the STE lets no further one in.
      if (capabilities.stall && features.stallModel !== STALL_NEVER) yield* commands.issueAndSync([stallTerminate(id)])
    },
    newShared: (mm) => asids.newShared(mm),
    freeShared: (space, mm) => asids.freeShared(space, mm),
    broadcast({ tag }, start, end) {
      if (options.btm !== true) return false
      options.broadcastTlbi?.({ asid: tag, start, end })
      return true
    },
    pageResponse({ device, pasid, group, stallTag, code }) {
      // No CMD_SYNC follows: it would say nothing about either (4.5.2, 4.7.1).
      if (stallTag !== null) return resume(device.id, stallTag, code)
      return pageResponse(device.id, device.capabilities.responseNeedsPasid ? pasid : null, group, code)
    },
    guestCommand: (command, { tag }, owns) => guestCommand(command, tag, owns),
  }
}

/** @throws IommError Unsupported */
function refuseMissing(features: SmmuFeatures, options: SmmuV3DriverOptions): void {
  const missing = (what: string, register: string) => {
    throw new IommError('Unsupported', `the SMMU has no ${what} (SMMU_${register}); leave that option out`)
  }
  if (options.btm === true && !features.btm) missing('broadcast TLB maintenance', 'IDR0.BTM')
  if (options.strtab === '2lvl' && !features.stream2l) missing('two-level stream tables', 'IDR0.ST_LEVEL')
  if ((options.cdtab ?? 'auto').startsWith('2lvl') && !features.cd2l) missing('two-level CD tables', 'IDR0.CD2L')
}
