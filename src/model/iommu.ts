/** What every hardware model offers: registers for software, translation and messages for devices. */
import type { TranslationStep } from '../base/explain.ts'
import type { DeviceId, Fault, Outcome, Pasid, Transaction } from '../base/types.ts'

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

/** A message signalled interrupt: a device's 4-byte write into the interrupt range (x86: 0xFEE00000 to 0xFEEFFFFF). */
export interface InterruptMessage {
  readonly device: DeviceId
  readonly address: bigint
  readonly data: number
}

/** What the interrupt unit gets of it. */
export interface Interrupt {
  readonly ok: true
  /** Whether a table entry decided; false: the message goes on as it was. */
  readonly remapped: boolean
  readonly vector: number
  /** APIC id, as wide as the mode has it. */
  readonly destination: number
  readonly logical: boolean
  /** Delivery mode, as the APIC numbers it: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT. */
  readonly deliveryMode: number
  readonly level: boolean
  /** Address of the descriptor that the interrupt was posted to; null: it was not. */
  readonly posted: bigint | null
  /** Of a posted interrupt: whether the notification (its vector and destination are told here) goes out now. */
  readonly notified?: boolean
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
  /** A device's interrupt, where the IOMMU remaps interrupts. A refused one is recorded as any fault is. */
  interrupt?(message: InterruptMessage): Interrupt | Fault
  /** A device has done an invalidation request. */
  invalidationComplete(tag: number): void
  /** Where messages to devices go. */
  onMessage: ((message: DeviceMessage) => void) | null
  /** Interrupt lines, by the specification's name of the source (`eventq`, `priq`, `gerror`, `cmd-sync`). */
  onInterrupt: ((source: string) => void) | null
  /** Does one piece of outstanding work (a command). @returns false when there is none. */
  step(): boolean
}
