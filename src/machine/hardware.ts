/** Model and driver of an architecture, put together: who watches the commands, and which invalidations get lost. */
import type { Op } from '../base/op.ts'
import type { IommuDriver } from '../core/driver.ts'
import type { CommandRing } from '../driver/common/command-ring.ts'
import type { IommuModel } from '../model/iommu.ts'
import type { Hardware, SeenCommand, Wanted } from './architecture.ts'
import type { Guest, GuestWanted } from './guest.ts'

/** A driver whose commands can be watched and forgotten. */
type Commanding = IommuDriver & { readonly commands: Pick<CommandRing, 'forget' | 'onCommand'> }

/** @param seen a command in words. */
export function hardware<D extends Commanding>(
  model: IommuModel,
  driver: D,
  watch: Wanted['watch'],
  seen: (words: Uint32Array) => SeenCommand,
  startGuest: (driver: D, wanted: GuestWanted) => Op<Guest>,
): Hardware {
  const { commands } = driver
  if (watch !== null) commands.onCommand = (words, lost) => watch(seen(words), lost)
  return {
    model,
    driver,
    forget(cache, lost) {
      if (lost) commands.forget.add(cache)
      else commands.forget.delete(cache)
    },
    startGuest: (guest) => startGuest(driver, guest),
  }
}
