/** What else a log tells: the boot memory map, reserved regions, devices and their drivers. It makes explanations certain. */
import type { KnownRange } from './address.ts'
import { pciOf } from './report.ts'

/** A device that the log lists. */
export interface KnownDevice {
  /** `8086:1e31`; null where it is not printed. */
  readonly ids: string | null
  driver: string | null
}

export interface LogContext {
  readonly ranges: readonly KnownRange[]
  /** By PCI address. Complete only where the log has the enumeration of the bus. */
  readonly devices: ReadonlyMap<string, KnownDevice>
  /** Whether the log lists the devices of the buses (`pci 0000:00:02.0: [8086:…] type 00 …`). */
  readonly enumerated: boolean
}

/** No log needs more; a hostile one gets no further. */
const MOST_RANGES = 512
const MOST_DEVICES = 4096

const E820 = /\bBIOS-e820: \[mem (0x[0-9a-f]+)-(0x[0-9a-f]+)\] ([\w ]+)/i
const RESERVED = /\b(?:DMAR: )?(RMRR) base: (0x[0-9a-f]+) end: (0x[0-9a-f]+)/i
const FRAMEBUFFER = /\b(?:efifb|simplefb|simple-framebuffer)\b.*\b(?:framebuffer at|mem) (0x[0-9a-f]+)(?:,.*?using (\d+)k)?/i
const DEVICE = /\bpci ((?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): \[([0-9a-f]{4}:[0-9a-f]{4})\] type/i
const LSPCI =
  /^((?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) [A-Z][\w /-]+(?: \[[0-9a-f]{4}\])?: .*?(?:\[([0-9a-f]{4}:[0-9a-f]{4})\].*)?$/i
const DRIVER = /^([a-z][\w-]*) ((?:[0-9a-f]{4}:)[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): /i

const TELLING = /e820|RMRR|fb\b|framebuffer|[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/i

export class ContextReader {
  private readonly ranges: KnownRange[] = []
  private readonly devices = new Map<string, KnownDevice>()
  private enumerated = false

  get context(): LogContext {
    return { ranges: this.ranges, devices: this.devices, enumerated: this.enumerated }
  }

  read(text: string): void {
    if (!TELLING.test(text)) return
    const memory = E820.exec(text)
    if (memory !== null) {
      const name = memory[3]!.trim()
      this.range(memory[1]!, memory[2]!, `${name} in the boot memory map`, /^usable/i.test(name))
      return
    }
    const reserved = RESERVED.exec(text)
    if (reserved !== null) this.range(reserved[2]!, reserved[3]!, 'a reserved region of the DMAR table (RMRR)', false)
    const screen = FRAMEBUFFER.exec(text)
    if (screen !== null) this.framebuffer(screen[1]!, Number(screen[2] ?? 8192))
    const device = DEVICE.exec(text) ?? LSPCI.exec(text)
    if (device !== null) {
      this.enumerated = true
      this.device(device[1]!, device[2] ?? null, null)
      return
    }
    const driver = DRIVER.exec(text)
    if (driver !== null && !/^(?:pci|pcieport|iommu)$/i.test(driver[1]!)) this.device(driver[2]!, null, driver[1]!)
  }

  private range(first: string, last: string, name: string, ram: boolean): void {
    if (this.ranges.length < MOST_RANGES && first.length <= 18 && last.length <= 18)
      this.ranges.push({ first: BigInt(first), last: BigInt(last), name, ram })
  }

  private framebuffer(at: string, kib: number): void {
    if (at.length > 18 || kib > 1 << 22) return
    const last = BigInt(at) + BigInt(kib) * 1024n - 1n
    this.range(at, `0x${last.toString(16)}`, "the firmware's frame buffer", false)
  }

  private device(address: string, ids: string | null, driver: string | null): void {
    const name = pciOf(address)
    if (name === null) return
    const known = this.devices.get(name)
    if (known === undefined) {
      if (this.devices.size < MOST_DEVICES) this.devices.set(name, { ids, driver })
    } else {
      if (driver !== null) known.driver ??= driver
      if (ids !== null && known.ids === null) this.devices.set(name, { ids, driver: known.driver })
    }
  }
}
