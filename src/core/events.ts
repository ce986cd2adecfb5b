/** What the core did, as it happens: for narration, tests and logs. Objects are the live ones. */
import type { Bond } from './bond.ts'
import type { Device } from './device.ts'
import type { Domain } from './domain.ts'
import type { FaultReport, PageRequest, ResponseCode } from './driver.ts'
import type { IoMm } from './io-mm.ts'

/** Where a bond, and so a transaction with its PASID, is in its life (SYSTEM.md section 3). */
export type Phase = 'bound' | 'exited' | 'unbound'

export type CoreEvent =
  | { readonly kind: 'device-added'; readonly device: Device }
  | { readonly kind: 'domain-created'; readonly domain: Domain }
  | { readonly kind: 'domain-freed'; readonly domain: Domain }
  | { readonly kind: 'attached'; readonly device: Device; readonly domain: Domain; readonly from: Domain | null }
  | { readonly kind: 'detached'; readonly device: Device; readonly domain: Domain }
  /** An attach failed on one device of the group; those attached before went back. */
  | {
      readonly kind: 'rolled-back'
      readonly device: Device
      readonly domain: Domain
      readonly to: Domain | null
      readonly why: string
    }
  | {
      readonly kind: 'mapped'
      readonly space: Domain | IoMm
      readonly iova: bigint
      readonly pa: bigint
      readonly size: bigint
      readonly rights: number
    }
  | {
      readonly kind: 'unmapped'
      readonly space: Domain | IoMm
      readonly iova: bigint
      readonly size: bigint
      readonly bytes: bigint
    }
  | { readonly kind: 'pasid-allocated'; readonly ioMm: IoMm }
  | { readonly kind: 'pasid-freed'; readonly ioMm: IoMm }
  /** A domain's PASID table entry was written, made quiet, or cleared. */
  | { readonly kind: 'entry-written' | 'entry-quieted' | 'entry-cleared'; readonly domain: Domain; readonly ioMm: IoMm }
  /** `users` is 1 for a new bond. */
  | { readonly kind: 'bound'; readonly bond: Bond; readonly users: number }
  /** An area of the process that devices cannot reach. */
  | { readonly kind: 'unreachable'; readonly bond: Bond; readonly start: bigint; readonly end: bigint; readonly why: string }
  /** `users` that stay; 0: the bond is gone. */
  | { readonly kind: 'unbound'; readonly bond: Bond; readonly users: number }
  /** The bond's process exited. */
  | { readonly kind: 'exited'; readonly bond: Bond }
  /** The device driver's hook failed; the PASID may still be in use by the device. */
  | { readonly kind: 'hook-failed'; readonly bond: Bond; readonly hook: 'stopPasid' | 'mmExit'; readonly error: unknown }
  /** The CPU changed [start, end) of a process; null: everything. */
  | {
      readonly kind: 'invalidated'
      readonly ioMm: IoMm
      readonly start: bigint | null
      readonly end: bigint | null
      readonly domains: readonly Domain[]
    }
  /** An unrecoverable fault. `phase` null: no PASID, or none that was ever bound here. `logged`: what a kernel log would show. */
  | {
      readonly kind: 'fault'
      readonly report: FaultReport
      readonly device: Device | null
      readonly domain: Domain | null
      readonly phase: Phase | null
      readonly logged: boolean
      readonly handled: boolean
      readonly note: string | null
    }
  | { readonly kind: 'page-request'; readonly request: PageRequest; readonly device: Device | null }
  /** A page request was handled: `code` for this one alone, `why` when it was refused. */
  | {
      readonly kind: 'page-handled'
      readonly request: PageRequest
      readonly device: Device | null
      readonly code: ResponseCode
      readonly why: string | null
      readonly logged: boolean
    }
  | { readonly kind: 'stop-marker'; readonly request: PageRequest; readonly device: Device | null }
  /** The response to a group (or a stall) went out. */
  | {
      readonly kind: 'page-response'
      readonly device: Device | null
      readonly group: number
      readonly stallTag: number | null
      readonly pasid: number | null
      readonly code: ResponseCode
      readonly requests: number
    }
  /** Partial groups were dropped. */
  | { readonly kind: 'partials-dropped'; readonly requests: number; readonly why: string }
