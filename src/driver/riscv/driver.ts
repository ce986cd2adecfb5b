/**
 * The OS side of a RISC-V IOMMU (specification 1.0): what the device directory, process directories, page tables, commands and queues of
 * such an IOMMU are, for the driver that all architectures share.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import type { Mmio } from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import { featuresOf, type RiscvFeatures } from '../../format/riscv/features.ts'
import { FAULT_RECORD, PAGE_REQUEST } from '../../format/riscv/records.ts'
import { AddressSpaces } from '../common/address-spaces.ts'
import { Configuration } from '../common/configuration.ts'
import { type Hardware, TableDriver } from '../common/driver.ts'
import { FaultQueues } from '../common/fault-queues.ts'
import { Invalidation } from '../common/invalidation.ts'
import { allocateQueue } from '../common/queues.ts'
import type { DeviceState } from '../common/state.ts'
import { newShared, spaceFormats } from './address-spaces.ts'
import { COMMAND_BYTES, commandQueue } from './command-queue.ts'
import { pageResponse } from './commands.ts'
import { entryFormats } from './configuration.ts'
import { DeviceDirectory, deviceBits, processBits, processDirectoryModes } from './directories.ts'
import { faultDecoding } from './faults.ts'
import { invalidationCommands } from './invalidation.ts'
import { guestCommand } from './nested.ts'
import type { RiscvDriverOptions } from './options.ts'
import { outputQueue } from './output-queue.ts'
import { Registers } from './registers.ts'
import { setUp } from './setup.ts'
import { firstStage, secondStage } from './spaces.ts'
import { svaObstacle } from './sva.ts'

export type { RiscvDriverOptions } from './options.ts'

const FAULT_BYTES = FAULT_RECORD.bits / 8
const PAGE_REQUEST_BYTES = PAGE_REQUEST.bits / 8
/** LOG2SZ-1 has five bits; more than a million entries nobody needs. */
const MOST_ENTRIES_LOG2 = 20

export class RiscvDriver extends TableDriver {
  readonly features: RiscvFeatures

  /**
   * Reads what the IOMMU can do, and allocates its structures; `init` puts them to use.
   * @throws IommError Unsupported when the options ask for what it has not.
   */
  constructor(mmio: Mmio, memory: WordMemory & PageAllocator, options: RiscvDriverOptions = {}) {
    const registers = new Registers(mmio)
    const features = readFeatures(registers)
    refuseMissing(features, options)
    const devices = new Map<number, DeviceState>()
    super(hardwareOf(registers, features, memory, options, devices), devices)
    this.features = features
  }
}

/** Little-endian and with 64-bit guests, whatever fctl says until `init` has written it. */
function readFeatures(registers: Registers): RiscvFeatures {
  const capabilities = registers.readWide('capabilities')
  return featuresOf(hi32(capabilities), lo32(capabilities), 0)
}

function hardwareOf(
  registers: Registers,
  features: RiscvFeatures,
  memory: WordMemory & PageAllocator,
  options: RiscvDriverOptions,
  devices: ReadonlyMap<number, DeviceState>,
): Hardware {
  const directory = new DeviceDirectory(memory, memory, features, levelsFor(features, options))
  const place = (bytes: number, wanted: number | undefined) =>
    allocateQueue(memory, bytes, MOST_ENTRIES_LOG2, wanted === undefined ? undefined : Math.max(1, wanted))
  const commandPlace = place(COMMAND_BYTES, options.commandQueueLog2)
  const faultPlace = place(FAULT_BYTES, options.faultQueueLog2)
  const pagePlace = features.ats ? place(PAGE_REQUEST_BYTES, options.pageRequestQueueLog2) : null
  const commands = commandQueue(memory, registers, commandPlace.base, commandPlace.log2, (error) => faults.commandError(error))
  for (const kind of options.forget ?? []) commands.forget.add(kind)
  const records = outputQueue(memory, registers, 'fq', faultPlace.base, faultPlace.log2, FAULT_BYTES / 4)
  const pages =
    pagePlace === null ? null : outputQueue(memory, registers, 'pq', pagePlace.base, pagePlace.log2, PAGE_REQUEST_BYTES / 4)
  const faults = new FaultQueues(commands, records, pages, (id) => devices.has(id), faultDecoding(registers))
  const modes = { stage1: firstStage(features, options.mode), stage2: secondStage(features, options.mode) }
  /** A first stage that leads nowhere. */
  const empty = memory.allocate(4096)
  const configuration = new Configuration(memory, commands, entryFormats(memory, features, options, modes, empty))
  const invalidations = invalidationCommands(features, options.iotinvalThreshold ?? 512)
  const invalidation = new Invalidation(commands, invalidations, options.atcInvalidateThreshold ?? 16)
  const formats = spaceFormats(features, options, modes)
  const pasidBits = modes.stage1 === null ? 0 : processBits(features, options.processDirectory)
  return {
    name: 'RISC-V IOMMU',
    pasidBits,
    reserved: options.reserved ?? [],
    commands,
    configuration,
    invalidation,
    spaces: new AddressSpaces(memory, formats, invalidation),
    faults,
    init() {
      const msi = () => options.msi ?? { address: BigInt(memory.allocate(4096)), data: 0 }
      return setUp(registers, features, { devices: directory, commands, faults: records, pages, msi })
    },
    svaObstacle: (device, domain, mm) => svaObstacle(features, pasidBits, device, domain, mm),
    deviceEntry: (device) => ({ entry: directory.make(device), forget: [] }),
    stageOf({ name, kind }) {
      if (kind !== 'dma' && kind !== 'nested') return null
      const stage = kind === 'nested' || (options.domainStage ?? (modes.stage1 === null ? 2 : 1)) === 2 ? 2 : 1
      if ((stage === 1 ? modes.stage1 : modes.stage2) === null)
        throw new IommError(
          'Unsupported',
          `domain ${name} needs a ${stage === 1 ? 'first' : 'second'} stage, which the IOMMU has not (capabilities)`,
        )
      return stage
    },
    admit() {},
    // So that the first bond of an identity or blocked domain changes no more than one word of each device context.
    tableFor: ({ capabilities }, { stage2 }) => stage2 === null && Math.min(capabilities.pasidBits, pasidBits) > 0,
    *endWaits() {},
    newShared: (mm) => newShared(features, formats.tags, mm, empty),
    // Its entries are cleared: each clearing was followed by IOTINVAL.VMA.
    freeShared: (space) => formats.tags.free(space.tag),
    broadcast: () => false,
    pageResponse: ({ device, pasid, group, code }) =>
      pageResponse(device.id, device.capabilities.responseNeedsPasid ? pasid : null, group, code),
    guestCommand: (command, { tag }, owns) => guestCommand(command, tag, owns),
  }
}

/** Levels of the device directory: as few as its device_ids need. */
function levelsFor(features: RiscvFeatures, { deviceIdBits = 16, directoryLevels }: RiscvDriverOptions): number {
  if (directoryLevels !== undefined) return directoryLevels
  return [1, 2].find((levels) => deviceBits(features, levels) >= deviceIdBits) ?? 3
}

/** @throws IommError Unsupported */
function refuseMissing(features: RiscvFeatures, { processDirectory, mode }: RiscvDriverOptions): void {
  const missing = (what: string) => {
    throw new IommError('Unsupported', `the IOMMU has no ${what} (capabilities.${what}); leave that option out`)
  }
  if (processDirectory !== undefined && !processDirectoryModes(features).includes(processDirectory)) missing(processDirectory)
  if (mode !== undefined && firstStage(features, mode) === null) missing(mode)
}
