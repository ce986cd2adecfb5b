/** What every hardware model offers: registers for software, translation and messages for devices. */
import type { TranslationStep } from '../base/explain.ts'
import type { DeviceId, Outcome, Pasid, Transaction } from '../base/types.ts'

/** A PCIe page request (PRI) as a device sends it. */
export interface PageRequestMessage {
  readonly device: DeviceId
  readonly pasid: Pasid | null
  readonly address: bigint
  /** Page Request Group Index, 9 bits. */
  readonly group: number
  readonly last: boolean
  readonly read: boolean
  readonly write: boolean
  readonly execute: boolean
  readonly privileged: boolean
}

/** What the IOMMU tells a device. */
export type DeviceMessage =
  /** ATS invalidation request: the device answers with `invalidationComplete(tag)`. `bytes` null: all addresses. `pasid` null: all PASIDs. */
  | {
      readonly kind: 'invalidate'
      readonly device: DeviceId
      readonly pasid: Pasid | null
      readonly address: bigint
      readonly bytes: bigint | null
      readonly tag: number
    }
  /** Page Request Group response. */
  | {
      readonly kind: 'page-response'
      readonly device: DeviceId
      readonly pasid: Pasid | null
      readonly group: number
      readonly code: 'success' | 'invalid' | 'failure'
    }
  /** A stalled transaction goes on: translate it again (`retry`), abort it to the device (`abort`), or end it silently (`terminate`: RAZ/WI). */
  | {
      readonly kind: 'resume'
      readonly device: DeviceId
      readonly stallTag: number
      readonly action: 'retry' | 'abort' | 'terminate'
    }

export interface IommuModel {
  readonly name: string
  /** Register read by software. `bytes` is 4 or 8. Unknown offsets read as zero. */
  read(offset: number, bytes: 4 | 8): bigint
  /** Register write by software. Unknown and read-only offsets ignore it. */
  write(offset: number, bytes: 4 | 8, value: bigint): void
  /** A device's transaction. */
  translate(transaction: Transaction): Outcome
  /** As `translate`, without any lasting effect (no event, no cache fill, no access flag), and with every step that led there. */
  explain(transaction: Transaction): { outcome: Outcome; steps: TranslationStep[] }
  /** A device's page request. */
  pageRequest(message: PageRequestMessage): void
  /** A device has done an invalidation request. */
  invalidationComplete(tag: number): void
  /** Where messages to devices go. */
  onMessage: ((message: DeviceMessage) => void) | null
  /** Interrupt lines, by the specification's name of the source (`eventq`, `priq`, `gerror`, `cmd-sync`). */
  onInterrupt: ((source: string) => void) | null
  /** Does one piece of outstanding work (a command). @returns false when there is none. */
  step(): boolean
}
