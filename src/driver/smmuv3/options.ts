/** What a machine can choose of the SMMUv3 driver. */
import type { IommuDriver } from '../../core/driver.ts'
import type { Granule } from '../../format/pt/vmsav8.ts'
import type { Forgettable } from '../common/command-ring.ts'
import type { CdTableForm } from './cd-table.ts'

/** The CPU's own invalidation of its translations, broadcast to whoever listens (DVM). Null addresses: the whole ASID. */
export interface BroadcastTlbi {
  readonly asid: number
  readonly start: bigint | null
  /** Exclusive. */
  readonly end: bigint | null
}

export interface SmmuV3DriverOptions {
  /** Width of the StreamIDs in the stream table. Default: 16, or what the SMMU has if that is less. */
  readonly streamIdBits?: number
  /** Default: two levels where the SMMU has them. */
  readonly strtab?: 'linear' | '2lvl'
  /** Default `auto`: linear up to 1024 PASIDs, then two levels with leaves of 64 KiB. */
  readonly cdtab?: CdTableForm | 'auto'
  /** Which stage translates a `dma` domain. Default 1. Processes can be shared only with stage 1. */
  readonly domainStage?: 1 | 2
  /** log2 of the page size of our own tables. Default: the smallest that the SMMU has. */
  readonly granule?: Granule
  /** Address bits of our own tables. Default 48; at stage 2 at most the SMMU's output size. */
  readonly ioasInputBits?: number
  /** Hardware sets access flags and dirty state in process tables, where CPU and SMMU both can. Default true. */
  readonly httu?: boolean
  /** The SMMU listens to the CPU's broadcast TLB maintenance: changes of process tables need only ATC invalidations. Default false. */
  readonly btm?: boolean
  /** With `btm`: carries the CPU's broadcast to the hardware, which no register write does. */
  readonly broadcastTlbi?: (broadcast: BroadcastTlbi) => void
  /** Most CMD_ATC_INV per device and range; above that the whole PASID is invalidated. Default 16. */
  readonly atcInvalidateThreshold?: number
  /** Most CMD_TLBI per range; above that the whole ASID or VMID is invalidated. Default 512. */
  readonly tlbiThreshold?: number
  /** log2 of the entries of the queues. Default: a page each, or what the SMMU has if that is less. */
  readonly commandQueueLog2?: number
  readonly eventQueueLog2?: number
  readonly priQueueLog2?: number
  /** Addresses that devices cannot use for memory, a hardware MSI region for example. Default: none. */
  readonly reserved?: IommuDriver['reserved']
  /** Commands to leave out, as a driver with that bug would. May be changed later: `driver.commands.forget`. */
  readonly forget?: readonly Forgettable[]
}
