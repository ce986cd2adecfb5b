/** What the parts of the core share. */
import type { Lock } from '../base/op.ts'
import type { Bond } from './bond.ts'
import type { Device } from './device.ts'
import type { IommuDriver } from './driver.ts'
import { IommError } from './error.ts'
import type { CoreEvent } from './events.ts'
import type { IoMm } from './io-mm.ts'

export interface Core {
  readonly driver: IommuDriver
  /**
   * Held while it is decided who is bound to what, and while the driver makes it so. Not held while a device's driver is waited for, nor
   * while page requests are handled: those may take a process's lock, under which the core is called for invalidations.
   */
  readonly lock: Lock
  readonly log: (event: CoreEvent) => void
  readonly devices: ReadonlyMap<number, Device>
  /** By PASID. */
  readonly ioMms: Map<number, IoMm>
  readonly bonds: Set<Bond>
}

/** Why devices cannot use some of [start, end) for memory, or null when they can. */
export function reservedWindow(driver: IommuDriver, start: bigint, end: bigint): string | null {
  for (const window of driver.reserved) if (start < window.end && end > window.start) return window.why
  return null
}

/** @throws IommError when some of [iova, iova + size) lies in a reserved window. */
export function refuseReserved(driver: IommuDriver, iova: bigint, size: bigint): void {
  for (const { start, end, why } of driver.reserved) {
    if (iova >= end || iova + size <= start) continue
    throw new IommError(
      'Reserved',
      `0x${iova.toString(16)} + 0x${size.toString(16)} reaches into 0x${start.toString(16)}..0x${end.toString(16)}, ` +
        `which devices cannot use for memory (${why}): map elsewhere`,
    )
  }
}
