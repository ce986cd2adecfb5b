/**
 * Interrupt remapping. AMD IOMMU specification (48882), 2.2.5 "Interrupt Remapping Tables", 2.2.2.1 (IV, IntCtl and the pass bits), 2.5.3
 * (page faults of interrupts), and the cache of remapping entries (2.4.5). A message's data says its delivery mode (bits 10:8), and with
 * IntCtl = 2 its low 11 bits which entry remaps it.
 */
import { getAddress, getNumber, type Layout, maskIn, uncovered } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import type { Fault } from '../../base/types.ts'
import { hi32, lo32, u64 } from '../../base/u64.ts'
import { checkDteInterrupts, DTE_RULES } from '../../format/amdvi/check.ts'
import {
  DTE4_IG,
  DTE4_IV,
  DTE5_EINT_PASS,
  DTE5_INIT_PASS,
  DTE5_NMI_PASS,
  dteIntCtl,
  INTCTL_ABORT,
  INTCTL_FORWARD,
} from '../../format/amdvi/dte.ts'
import {
  EVENT1_PR,
  EVENT1_RZ,
  ILLEGAL_DEV_TABLE_ENTRY,
  INVALID_DEVICE_REQUEST,
  IO_PAGE_FAULT,
  PAGE_TAB_HARDWARE_ERROR,
  REQUEST_INTERRUPT_BLOCKED,
} from '../../format/amdvi/events.ts'
import {
  IRTE0_DM,
  IRTE0_GUEST_MODE,
  IRTE0_REMAP_EN,
  IRTE0_SUP_IOPF,
  IRTE32,
  IRTE128,
  IRTE128_GUEST,
  irteDestination,
} from '../../format/amdvi/irte.ts'
import { BEYOND_TABLE, CORRUPT, FOUND, findIrte, TableWalk } from '../../format/amdvi/lookup.ts'
import { CONTROL } from '../../format/amdvi/registers.ts'
import { ConfigCache } from '../common/config-cache.ts'
import { WRITE } from '../common/request.ts'
import { unmappedInterrupt } from '../common/x86-message.ts'
import type { Interrupt, InterruptMessage } from '../iommu.ts'
import type { Configuration, Device } from './config.ts'
import { type FaultUnit, hardwareType, type Refusal } from './faults.ts'
import { refusalOf } from './refusals.ts'
import type { RegisterFile } from './registers.ts'

/** Delivery modes of messages, as the APIC numbers them. */
const FIXED = 0
const ARBITRATED = 1
const SMI = 2
const NMI = 4
const INIT = 5
const EXT_INT = 7

/** Pending interrupts in the backing page of a virtual APIC (AMD64 APM volume 2, 15.29): 32 of them to each 16 bytes. */
const IRR = 0x200

const CACHE_OFF = maskIn(CONTROL.fields.IRTCacheDis, 1)

const ZERO = new Map<Layout, Uint32Array>([IRTE32, IRTE128, IRTE128_GUEST].map((layout) => [layout, uncovered(layout)]))

export interface RemapParts {
  readonly memory: WordMemory
  readonly registers: RegisterFile
  readonly config: Configuration
  readonly faults: FaultUnit
  /** Entries that the cache holds. */
  readonly capacity: number
}

interface Entry {
  readonly status: number
  readonly address: number
  readonly words: Int32Array
}

export class RemapUnit {
  readonly #parts: RemapParts
  readonly #cache: ConfigCache<Entry>
  readonly #walk = new TableWalk()

  constructor(parts: RemapParts) {
    this.#parts = parts
    this.#cache = new ConfigCache(parts.capacity)
  }

  /** INVALIDATE_INTERRUPT_TABLE. */
  invalidate(device: number): void {
    this.#cache.invalidate(device, device)
  }

  clear(): void {
    this.#cache.invalidate(0, 0xffff)
  }

  /** A message of a device. */
  deliver(message: InterruptMessage): Interrupt | Fault {
    const { registers, config } = this.#parts
    if (!registers.enabled) return unmapped(message)
    const device = config.device(message.device)
    if (device.code !== 0 && device.code !== ILLEGAL_DEV_TABLE_ENTRY) return this.#refuse(message, refusalOf(device, -1, true))
    const { words } = device
    // The interrupt fields stand by themselves: V says nothing of them.
    if ((words[4]! & DTE4_IV) === 0) return unmapped(message)
    const rule = checkDteInterrupts(words, 0)
    if (rule !== 0) {
      const { text, section, reserved } = DTE_RULES[rule]!
      const entry = { entryAddress: device.address, entry: u64(words[5]!, words[4]!) }
      const flags = reserved ? EVENT1_RZ : 0
      return this.#refuse(message, {
        code: ILLEGAL_DEV_TABLE_ENTRY,
        why: `${text} (${section})`,
        flags,
        interrupt: true,
        ...entry,
      })
    }
    const mode = (message.data >>> 8) & 7
    switch (mode) {
      case FIXED:
      case ARBITRATED:
        return this.#vectored(message, device)
      case SMI:
        return unmapped(message)
      case NMI:
        return this.#passed(message, device, DTE5_NMI_PASS, 'NMIPass')
      case INIT:
        return this.#passed(message, device, DTE5_INIT_PASS, 'InitPass')
      case EXT_INT:
        return this.#passed(message, device, DTE5_EINT_PASS, 'EIntPass')
      default:
        return this.#fault(message, device, { why: `delivery mode ${mode} is reserved (2.2.5)` })
    }
  }

  #passed(message: InterruptMessage, device: Device, bit: number, name: string): Interrupt | Fault {
    if ((device.words[5]! & bit) !== 0) return unmapped(message)
    return this.#fault(message, device, { why: `DTE.${name} is 0 (2.2.2.1)` })
  }

  #vectored(message: InterruptMessage, device: Device): Interrupt | Fault {
    const control = dteIntCtl(device.words)
    if (control === INTCTL_FORWARD) return unmapped(message)
    if (control === INTCTL_ABORT) {
      const why = 'DTE.IntCtl is 0: fixed and arbitrated interrupts are aborted (2.2.2.1)'
      return this.#refuse(message, {
        code: INVALID_DEVICE_REQUEST,
        type: REQUEST_INTERRUPT_BLOCKED,
        why,
        interrupt: true,
        device,
      })
    }
    const entry = this.#entry(device, message.data & 0x7ff)
    const place = { entryAddress: entry.address, entry: u64(entry.words[1]!, entry.words[0]!) }
    if (entry.status === BEYOND_TABLE)
      return this.#fault(message, device, { why: 'the interrupt is outside the remapping table (DTE.IntTabLen, 2.2.5)' })
    if (entry.status !== FOUND) {
      const why =
        entry.status === CORRUPT
          ? 'corrupt data at the remapping entry (2.5.5)'
          : 'nothing answers at the remapping entry (2.5.5)'
      const type = hardwareType(entry.status === CORRUPT)
      const address = BigInt(entry.address)
      return this.#refuse(message, {
        code: PAGE_TAB_HARDWARE_ERROR,
        type,
        why,
        interrupt: true,
        device,
        address,
        entryAddress: entry.address,
      })
    }
    const refused = this.#check(entry.words)
    if (refused !== null) {
      const quiet = (entry.words[0]! & IRTE0_SUP_IOPF) !== 0
      return this.#fault(message, device, { ...refused, ...place, quiet })
    }
    return this.#remapped(message, entry.words)
  }

  /** Why an entry remaps nothing. */
  #check(words: Int32Array): Pick<Refusal, 'why' | 'flags'> | null {
    const low = words[0]!
    if ((low & IRTE0_REMAP_EN) === 0) return { why: 'RemapEn of the remapping entry is 0 (2.2.5)' }
    const guest = (low & IRTE0_GUEST_MODE) !== 0
    if (guest && !this.#guestMode)
      return { why: 'GuestMode is 1, and CONTROL.GAMEn or GAEn is 0 (2.2.5)', flags: EVENT1_PR | EVENT1_RZ }
    const zero = ZERO.get(this.#parts.config.features.irteBytes === 4 ? IRTE32 : guest ? IRTE128_GUEST : IRTE128)!
    for (const [word, mask] of zero.entries())
      if ((words[word]! & mask) !== 0)
        return { why: 'reserved bits of the remapping entry are set (2.2.5)', flags: EVENT1_PR | EVENT1_RZ }
    if (!guest && getNumber(words, IRTE32.fields.IntType) > ARBITRATED)
      return { why: 'IntType of the remapping entry is reserved (2.2.5)', flags: EVENT1_PR | EVENT1_RZ }
    return null
  }

  get #guestMode(): boolean {
    const { GAMEn } = CONTROL.fields
    const { registers, config } = this.#parts
    return config.features.irteBytes === 16 && ((registers.control >>> GAMEn.lsb) & 7) === 1
  }

  #entry(device: Device, index: number): Entry {
    const { registers, memory, config } = this.#parts
    const cached = this.#cache.find(device.id, index)
    if (cached !== null) return cached
    const walk = this.#walk
    const status = findIrte(memory, config.features, device.words, 0, index, walk)
    const entry = { status, address: walk.address[0]!, words: status === FOUND ? walk.irte.slice() : new Int32Array(4) }
    if (status === FOUND && (registers.controlHi & CACHE_OFF) === 0) this.#cache.insert(device.id, index, entry)
    return entry
  }

  #remapped(message: InterruptMessage, words: Int32Array): Interrupt {
    const { features } = this.#parts.config
    const low = words[0]!
    const level = ((message.data >>> 15) & 1) === 1
    if (features.irteBytes === 4) {
      const mode = { vector: (low >>> 16) & 255, destination: (low >>> 8) & 255, logical: (low & IRTE0_DM) !== 0 }
      return { ok: true, remapped: true, ...mode, deliveryMode: getNumber(words, IRTE32.fields.IntType), level, posted: null }
    }
    const vector = getNumber(words, IRTE128.fields.Vector)
    const destination = features.x2apic ? irteDestination(words) : (low >>> 8) & 255
    if ((low & IRTE0_GUEST_MODE) === 0) {
      const deliveryMode = getNumber(words, IRTE128.fields.IntType)
      return { ok: true, remapped: true, vector, destination, logical: (low & IRTE0_DM) !== 0, deliveryMode, level, posted: null }
    }
    return {
      ok: true,
      remapped: true,
      vector,
      destination,
      logical: false,
      deliveryMode: FIXED,
      level,
      posted: this.#post(words, vector),
    }
  }

  /** Guest mode: the interrupt becomes pending in the backing page of the virtual APIC. */
  #post(words: Int32Array, vector: number): bigint {
    const { memory } = this.#parts
    const page = getAddress(words, IRTE128_GUEST.fields.GuestAPICTableRootPtr)
    const index = memory.indexForWrite(page + IRR + (vector >>> 5) * 16)
    if (index >= 0) memory.words[index]! |= 1 << (vector & 31)
    return BigInt(page)
  }

  /** An IO_PAGE_FAULT; DTE.IG keeps it from the log. */
  #fault(message: InterruptMessage, device: Device, refusal: Omit<Refusal, 'code'>): Fault {
    const quiet = refusal.quiet === true || (device.words[4]! & DTE4_IG) !== 0
    return this.#refuse(message, { ...refusal, code: IO_PAGE_FAULT, interrupt: true, device, quiet })
  }

  #refuse(message: InterruptMessage, refusal: Refusal): Fault {
    const { device, address } = message
    return this.#parts.faults.refuse({ device, pasid: -1, hi: hi32(address), lo: lo32(address), flags: WRITE }, refusal, true)
  }
}

/** The message goes on as it was. */
function unmapped({ address, data }: InterruptMessage): Interrupt {
  return unmappedInterrupt(lo32(address), data)
}
