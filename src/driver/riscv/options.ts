/** What a machine can choose of the RISC-V driver. */
import type { IommuDriver } from '../../core/driver.ts'
import type { Forgettable } from '../common/command-ring.ts'

/** First-stage modes that the driver writes tables in. */
export type FirstStageMode = 'Sv39' | 'Sv48' | 'Sv57'
export type ProcessDirectoryMode = 'PD8' | 'PD17' | 'PD20'

export interface RiscvDriverOptions {
  /** Width of the device_ids in the device directory: it has as few levels as that takes. Default 16. */
  readonly deviceIdBits?: number
  /** Levels of the device directory. Default: by `deviceIdBits`. */
  readonly directoryLevels?: 1 | 2 | 3
  /** Process directories. Default: the smallest that a domain's devices need. */
  readonly processDirectory?: ProcessDirectoryMode
  /** Which stage translates a `dma` domain. Default 1. Processes can be shared only with stage 1. */
  readonly domainStage?: 1 | 2
  /** Mode of our own tables; of the second stage it is the one with x4. Default: Sv48, or the widest below it that there is. */
  readonly mode?: FirstStageMode
  /** Hardware sets A and D in the first stage (DC.tc.SADE), as the CPUs do. Default false. */
  readonly hardwareUpdates?: boolean
  /** Most ATS.INVAL per device and range; above that the whole PASID is invalidated. Default 16. */
  readonly atcInvalidateThreshold?: number
  /** Most IOTINVAL per range; above that the whole PSCID or GSCID is invalidated. Default 512. */
  readonly iotinvalThreshold?: number
  /** log2 of the entries of the queues, at least 1. Default: a page each. */
  readonly commandQueueLog2?: number
  readonly faultQueueLog2?: number
  readonly pageRequestQueueLog2?: number
  /** Where interrupts go when they cannot be wires (capabilities.IGS is MSI): address and data. Default: a page that nobody reads. */
  readonly msi?: { readonly address: bigint; readonly data: number }
  /** Addresses that devices cannot use for memory. Default: none. */
  readonly reserved?: IommuDriver['reserved']
  /** Commands to leave out, as a driver with that bug would. May be changed later: `driver.commands.forget`. */
  readonly forget?: readonly Forgettable[]
}
