/**
 * The OS side of an Intel VT-d IOMMU: what root, context and PASID tables, page tables, descriptors and queues of such an IOMMU are, for the
 * driver that all architectures share. Where PASID 0 lives: in scalable mode it is entry 0 of a domain's PASID table, as on Arm; in legacy
 * mode there is no such table, and the context entry itself leads to the domain's page table.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import type { Mmio } from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import { featuresOf, type VtdFeatures } from '../../format/vtd/features.ts'
import { PAGE_REQUEST_BYTES } from '../../format/vtd/records.ts'
import { AddressSpaces } from '../common/address-spaces.ts'
import { Configuration } from '../common/configuration.ts'
import { type Hardware, TableDriver } from '../common/driver.ts'
import { FaultQueues } from '../common/fault-queues.ts'
import { Invalidation } from '../common/invalidation.ts'
import { allocateQueue } from '../common/queues.ts'
import { RecordQueue } from '../common/record-queue.ts'
import type { DeviceState } from '../common/state.ts'
import { TagAllocator } from '../common/tags.ts'
import { blockSize } from '../common/words.ts'
import { type DomainIds, newShared, spaceFormats } from './address-spaces.ts'
import { commandQueue } from './command-queue.ts'
import { drainPageRequests, pageResponse } from './commands.ts'
import { legacyFormats, scalableFormats } from './configuration.ts'
import { acknowledgeOverflow, faultDecoding, faultRecords } from './faults.ts'
import { INTERRUPT_RANGE, identityOf } from './identity.ts'
import { invalidationCommands } from './invalidation.ts'
import { guestCommand, PasidCopies } from './nested.ts'
import type { VtdDriverOptions } from './options.ts'
import { capField, ecapField, Registers } from './registers.ts'
import { setUp } from './setup.ts'
import { firstShape, secondLevels, secondShape } from './spaces.ts'
import { svaObstacle } from './sva.ts'
import { RootTable } from './tables.ts'

export type { VtdDriverOptions } from './options.ts'

/** IQA.QS and PQA.PQS: 2^7 pages at most. */
const MOST_PAGES_LOG2 = 7
const PAGE = 4096

export class VtdDriver extends TableDriver {
  readonly features: VtdFeatures
  readonly mode: 'legacy' | 'scalable'

  /**
   * Reads what the IOMMU can do, and allocates its structures; `init` puts them to use.
   * @throws IommError Unsupported when the options ask for what it has not.
   */
  constructor(mmio: Mmio, memory: WordMemory & PageAllocator, options: VtdDriverOptions = {}) {
    const registers = new Registers(mmio)
    const features = featuresOf(registers.readWide('CAP'), registers.readWide('ECAP'), {
      hostAddressBits: options.hostAddressBits ?? 52,
    })
    const mode = options.mode ?? (features.scalable ? 'scalable' : 'legacy')
    refuseMissing(features, mode, options)
    const devices = new Map<number, DeviceState>()
    super(hardwareOf(registers, features, mode === 'scalable', memory, options, devices), devices)
    this.features = features
    this.mode = mode
  }
}

function hardwareOf(
  registers: Registers,
  features: VtdFeatures,
  scalable: boolean,
  memory: WordMemory & PageAllocator,
  options: VtdDriverOptions,
  devices: ReadonlyMap<number, DeviceState>,
): Hardware {
  const root = new RootTable(memory, memory, scalable)
  const descriptorBytes = (options.descriptorBits ?? (scalable ? 256 : 128)) === 256 ? 32 : 16
  const place = queuePlace(memory, descriptorBytes, options.invalidationQueueLog2)
  const status = memory.allocate(blockSize(2 ** place.log2 * 4))
  const commands = commandQueue(memory, registers, { ...place, bytes: descriptorBytes, status }, (error) =>
    faults.commandError(error),
  )
  for (const kind of options.forget ?? []) commands.forget.add(kind)

  // Requests come with PASIDs, so they are a matter of scalable mode (RTA.3).
  const pages = scalable && features.pageRequests ? pageRequestQueue(memory, registers, options.pageRequestQueueLog2) : null
  const records = faultRecords(registers, features.cap)
  const faults = new FaultQueues(commands, records, pages, (id) => devices.has(id), faultDecoding(registers, pages !== null))

  const levels = secondLevels(features, options.secondLevels)
  const stage2 = () => secondShape(features, levels)
  const stage1 = () => firstShape(features, options.firstLevels ?? 4)
  const domainStage = options.domainStage ?? (features.firstStage ? 1 : 2)
  const ids: DomainIds = new TagAllocator('domain id', features.domainBits)
  const identity = identityOf(memory, features, options, stage2, () => ids.allocate('identity'))
  const copies: PasidCopies = new PasidCopies(memory, features, () => configuration)
  const around = { features, identity, copyOf: (device: number) => copies.of(device) }
  const configuration: Configuration = new Configuration(
    memory,
    commands,
    scalable ? scalableFormats(memory, around) : legacyFormats(around),
  )
  const invalidations = invalidationCommands(features, options.iotlbThreshold ?? 512)
  const invalidation = new Invalidation(commands, invalidations, options.atcInvalidateThreshold ?? 16)
  const shapes = { stage1: features.firstStage ? stage1 : stage2, stage2, own: domainStage === 1 ? stage1 : stage2 }
  /** A first stage that leads nowhere. */
  const empty = memory.allocate(PAGE)
  return {
    name: scalable ? 'Intel VT-d' : 'Intel VT-d in legacy mode',
    pasidBits: scalable ? features.pasidBits : 0,
    reserved: [
      {
        start: BigInt(INTERRUPT_RANGE.start),
        end: BigInt(INTERRUPT_RANGE.end),
        why: 'interrupt messages of x86, in every address space',
      },
    ],
    commands,
    configuration,
    invalidation,
    spaces: new AddressSpaces(memory, spaceFormats(features, shapes, ids), invalidation),
    faults,
    init: () =>
      setUp(registers, features, {
        root,
        scalable,
        commands,
        descriptorBytes,
        faults: records,
        pages,
        msi: options.msi ?? { address: BigInt(INTERRUPT_RANGE.start), data: 0x30 },
      }),
    svaObstacle: (device, _domain, mm) => svaObstacle(features, scalable, device, mm),
    // What was not present is not cached.
    deviceEntry: (source) => ({ entry: root.make(source).entry, forget: [] }),
    stageOf({ name, kind }) {
      if (kind === 'nested' && scalable && !(features.nested && features.firstStage && features.secondStage))
        throw new IommError(
          'Unsupported',
          `domain ${name} needs nested translation, which the IOMMU has not (ECAP.NEST, FSTS, SSTS)`,
        )
      // In scalable mode an entry of the PASID table says which stage it is: to a domain that is alike.
      return kind === 'nested' ? 2 : kind === 'dma' ? (scalable ? 1 : 2) : null
    },
    admit() {},
    tableFor: () => scalable,
    *endWaits() {},
    newShared: (mm) => newShared(features, ids, mm, empty),
    // Its entries are cleared: each clearing was followed by p_iotlb_inv_dsc.
    freeShared: (space) => ids.free(space.tag),
    broadcast: () => false,
    pageResponse: ({ device, pasid, group, code }) =>
      pageResponse(device.id, device.capabilities.responseNeedsPasid ? pasid : null, group, code),
    guestCommand: (command, { tag }, owns) => guestCommand(command, tag, features, owns),
    ...(scalable ? { copies } : {}),
    ...(pages !== null && ecapField(features, 'PDS') === 1 ? { drain: () => commands.issueAndSync([drainPageRequests()]) } : {}),
  }
}

/** A queue takes whole pages. */
function queuePlace(pages: PageAllocator, entryBytes: number, wanted: number | undefined): { base: number; log2: number } {
  const least = Math.log2(PAGE / entryBytes)
  return allocateQueue(pages, entryBytes, least + MOST_PAGES_LOG2, wanted === undefined ? undefined : Math.max(wanted, least))
}

/** The page request queue. Section 7.5.1. Its registers hold byte offsets. */
function pageRequestQueue(memory: WordMemory & PageAllocator, registers: Registers, wanted: number | undefined): RecordQueue {
  const { base, log2 } = queuePlace(memory, PAGE_REQUEST_BYTES, wanted)
  return new RecordQueue(memory, base, log2, {
    modulus: 2 ** log2,
    words: PAGE_REQUEST_BYTES / 4,
    produced: () => registers.read('PQT') / PAGE_REQUEST_BYTES,
    consumed: () => registers.read('PQH') / PAGE_REQUEST_BYTES,
    consume: (index) => registers.write('PQH', index * PAGE_REQUEST_BYTES),
    acknowledgeLoss: () => acknowledgeOverflow(registers),
  })
}

/** @throws IommError Unsupported */
function refuseMissing(features: VtdFeatures, mode: 'legacy' | 'scalable', options: VtdDriverOptions): void {
  const refuse = (why: string) => {
    throw new IommError('Unsupported', why)
  }
  if (ecapField(features, 'QI') === 0) refuse('the IOMMU has no invalidation queue (ECAP.QI), and this driver knows no other way')
  if (capField(features, 'RWBF') === 1)
    refuse('the IOMMU needs its write buffers flushed by software (CAP.RWBF), which this driver does not')
  if (features.cachingMode)
    refuse('the IOMMU caches what is not present (CAP.CM), as virtual ones do; this driver is for hardware')
  if (mode === 'scalable') {
    if (!features.scalable) refuse('the IOMMU has no scalable mode (ECAP.SMTS); choose legacy mode')
    if (!features.firstStage && !features.secondStage) refuse('the IOMMU translates nothing in scalable mode (ECAP.FSTS, SSTS)')
    if (options.domainStage === 2 && !features.secondStage) refuse('the IOMMU has no second stage in scalable mode (ECAP.SSTS)')
    if (options.domainStage === 1 && !features.firstStage) refuse('the IOMMU has no first stage (ECAP.FSTS)')
    if (options.descriptorBits === 128) refuse('scalable mode needs descriptors of 256 bits: those about PASIDs have no others')
  } else {
    if (options.domainStage === 1) refuse('legacy mode has the second stage only')
    if (options.descriptorBits === 256 && !features.scalable) refuse('the IOMMU has descriptors of 128 bits only (ECAP.SMTS)')
  }
  if (options.identity === 'pass-through' && !features.passThrough) refuse('the IOMMU has no pass-through (ECAP.PT)')
}
