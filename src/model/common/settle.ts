/** What an IOMMU does when software or a device has done something, until nothing is left to do. */
import type { DeviceMessage } from '../iommu.ts'

/**
 * Executes commands, tells devices and delivers interrupts. Handlers may call back: what comes of that is done, too.
 * @param commands `step` executes one; null: software steps by itself.
 * @param messages for devices, in order.
 * @param between work of the architecture's own, between commands and messages.
 */
export function settle(
  commands: { step(): boolean } | null,
  interrupts: { deliver(): boolean },
  messages: DeviceMessage[],
  tell: (message: DeviceMessage) => void,
  between: (() => void) | null = null,
): void {
  for (let moved = true; moved; ) {
    moved = false
    if (commands !== null) while (commands.step()) moved = true
    between?.()
    for (let message = messages.shift(); message !== undefined; message = messages.shift()) {
      moved = true
      tell(message)
    }
    if (interrupts.deliver()) moved = true
  }
}
