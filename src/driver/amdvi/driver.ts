/**
 * The OS side of an AMD IOMMU: what its device table, GCR3 tables, page tables, commands and logs are, for the driver that all architectures
 * share. Where PASID 0 lives: with v2 tables it is GCR3 entry 0, which requests without PASID use too (DTE.GIOV); with v1 tables it is the
 * host table, beside which no process can be shared.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import type { Mmio } from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import { COMMAND_BYTES } from '../../format/amdvi/commands.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import { gcr3Bits } from '../../format/amdvi/gcr3.ts'
import { AddressSpaces } from '../common/address-spaces.ts'
import { Configuration } from '../common/configuration.ts'
import { type Hardware, TableDriver } from '../common/driver.ts'
import { FaultQueues } from '../common/fault-queues.ts'
import { Invalidation } from '../common/invalidation.ts'
import { allocateQueue } from '../common/queues.ts'
import type { DeviceState } from '../common/state.ts'
import { newShared, spaceFormats } from './address-spaces.ts'
import { commandBuffer } from './command-buffer.ts'
import { completePpr } from './commands.ts'
import { entryFormats } from './configuration.ts'
import { DomainIds } from './domain-ids.ts'
import { blockedDte } from './entries.ts'
import { faultDecoding } from './faults.ts'
import { invalidationCommands } from './invalidation.ts'
import { ENTRY_BYTES, log } from './logs.ts'
import { guestCommand } from './nested.ts'
import type { AmdDriverOptions } from './options.ts'
import { type Abilities, abilitiesOf, Registers } from './registers.ts'
import { setUp } from './setup.ts'
import { guestShape, hostShape } from './spaces.ts'
import { svaObstacle } from './sva.ts'
import { DeviceTable } from './tables.ts'

export type { AmdDriverOptions } from './options.ts'

/** log2 of the entries of a ring. */
const LEAST = 8
const MOST = 15

/** Addresses that are not memory, in every address space (2.1.2), end exclusive. */
const INTERRUPT_RANGE = { start: 0xfee00000n, end: 0xfef00000n, why: 'interrupt messages of x86, in every address space' }
const HYPERTRANSPORT_RANGE = { start: 0xfd_0000_0000n, end: 0x100_0000_0000n, why: 'special addresses of HyperTransport' }

export class AmdDriver extends TableDriver {
  readonly features: AmdFeatures
  /** Tables of `dma` domains. */
  readonly tables: 'v1' | 'v2'

  /**
   * Reads what the IOMMU can do, and allocates its structures; `init` puts them to use.
   * @throws IommError Unsupported when the options ask for what it has not.
   */
  constructor(mmio: Mmio, memory: WordMemory & PageAllocator, options: AmdDriverOptions = {}) {
    const registers = new Registers(mmio)
    const abilities = abilitiesOf(registers)
    const { features } = abilities
    refuseMissing(features, options)
    const tables = options.tables ?? (features.guest && features.giov ? 'v2' : 'v1')
    const devices = new Map<number, DeviceState>()
    super(hardwareOf(registers, abilities, tables, memory, options, devices), devices)
    this.features = features
    this.tables = tables
  }
}

function hardwareOf(
  registers: Registers,
  abilities: Abilities,
  tables: 'v1' | 'v2',
  memory: WordMemory & PageAllocator,
  options: AmdDriverOptions,
  devices: ReadonlyMap<number, DeviceState>,
): Hardware {
  const { features } = abilities
  const place = (bytes: number, wanted = LEAST) => allocateQueue(memory, bytes, MOST, Math.max(LEAST, wanted))
  const table = new DeviceTable(memory, memory, options.largestDevice ?? 0xffff, blockedDte())
  const buffer = place(COMMAND_BYTES, options.commandBufferLog2)
  // Eight bytes for each command.
  const status = place(8, buffer.log2).base
  const commands = commandBuffer(memory, registers, features, { ...buffer, status }, (error) => faults.commandError(error))
  for (const kind of options.forget ?? []) commands.forget.add(kind)
  const events = log(memory, registers, 'event', place(ENTRY_BYTES, options.eventLogLog2))
  const pages = features.ppr ? log(memory, registers, 'ppr', place(ENTRY_BYTES, options.pprLogLog2)) : null
  const faults = new FaultQueues(commands, events, pages, (id) => devices.has(id), faultDecoding(registers))

  const { guestLevels = 4, hostLevels = 4, gcr3Levels } = options
  const glxMax = gcr3Levels === undefined ? Math.min(2, features.glxMax) : gcr3Levels - 1
  const pasidBits = features.guest ? Math.min(features.pasidBits, gcr3Bits(glxMax)) : 0
  const ids = new DomainIds()
  const configuration = new Configuration(
    memory,
    commands,
    entryFormats(memory, features, ids, { guestLevels, gcr3Levels, pasidBits }),
  )
  const invalidation = new Invalidation(
    commands,
    invalidationCommands(ids, options.iotlbThreshold ?? 512),
    options.atcInvalidateThreshold ?? 16,
  )
  const shapes = [() => guestShape(features, guestLevels), () => hostShape(features, hostLevels)] as const
  /** Guest tables that lead nowhere. */
  const empty = memory.allocate(4096)
  return {
    name: 'AMD-Vi',
    pasidBits,
    reserved: abilities.hyperTransport ? [INTERRUPT_RANGE, HYPERTRANSPORT_RANGE] : [INTERRUPT_RANGE],
    commands,
    configuration,
    invalidation,
    spaces: new AddressSpaces(memory, spaceFormats(...shapes, ids), invalidation),
    faults,
    domainTags: ids,
    init: () => setUp(registers, abilities, { devices: table, commands, events, pages }),
    svaObstacle: (device, domain, mm) => svaObstacle(features, guestLevels, device, domain, mm),
    deviceEntry: (device) => ({ entry: table.entry(device), forget: [] }),
    stageOf({ name, kind }) {
      if (kind === 'nested' && !(features.guest && abilities.guests))
        throw new IommError(
          'Unsupported',
          `domain ${name} needs a guest's GCR3 tables over our host tables, which the IOMMU has not (EXT_FEATURE.GTSup, EXT_FEATURE2.GCR3TRPMode)`,
        )
      if (kind === 'dma') return tables === 'v2' ? 1 : 2
      return kind === 'nested' ? 2 : null
    },
    admit() {},
    tableFor: () => false,
    *endWaits() {},
    newShared: (mm) => newShared(mm, empty),
    freeShared() {},
    broadcast: () => false,
    pageResponse: ({ device, pasid, group, code }) =>
      completePpr(device.id, device.capabilities.responseNeedsPasid ? pasid : null, group, code),
    guestCommand: (command, { tag }, owns) => guestCommand(command, tag, ids, features, owns),
  }
}

/** @throws IommError Unsupported */
function refuseMissing(features: AmdFeatures, { tables, gcr3Levels, guestLevels }: AmdDriverOptions): void {
  const refuse = (why: string) => {
    throw new IommError('Unsupported', why)
  }
  if (tables === 'v2' && !features.guest) refuse('the IOMMU has no guest tables (EXT_FEATURE.GTSup): choose v1 tables')
  if (tables === 'v2' && !features.giov)
    refuse('the IOMMU has no GCR3 entry for requests without PASID (EXT_FEATURE.GIOSup): choose v1 tables')
  if (gcr3Levels !== undefined && gcr3Levels - 1 > Math.min(2, features.glxMax))
    refuse(`the IOMMU has no GCR3 tables of ${gcr3Levels} levels (EXT_FEATURE.GLXSup)`)
  if (guestLevels !== undefined && features.guest && guestLevels > features.guestLevels)
    refuse(`the IOMMU has no guest tables of ${guestLevels} levels (EXT_FEATURE.GATS)`)
}
