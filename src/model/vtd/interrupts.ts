/** Interrupt remapping and posting. Intel VT-d, sections 5.1 and 5.2, 6.4, 9.9 to 9.11. */
import { getBits, getNumber, wordsToU64 } from '../../base/layout.ts'
import { NO_ANSWER, type WordMemory } from '../../base/memory.ts'
import type { Fault } from '../../base/types.ts'
import { lo32, toDouble, u64 } from '../../base/u64.ts'
import { checkIrte } from '../../format/vtd/check.ts'
import * as fr from '../../format/vtd/faults.ts'
import {
  IRTE_BYTES,
  IRTE_FPD,
  IRTE_IM,
  IRTE_P,
  IRTE_POSTED,
  IRTE_REMAPPED,
  PI_DESCRIPTOR,
  REMAPPABLE_ADDRESS,
  SVT_BUS_RANGE,
  SVT_SID,
} from '../../format/vtd/irte.ts'
import { GS_CFI, REG } from '../../format/vtd/registers.ts'
import { EntryCache } from '../common/entry-cache.ts'
import { unmappedInterrupt } from '../common/x86-message.ts'
import type { Interrupt, InterruptMessage } from '../iommu.ts'
import type { FaultLog } from './fault-log.ts'
import type { Registers } from './registers.ts'

/** Function numbers that SQ leaves out: none, bit 2, bits 2:1, bits 2:0. */
const FUNCTION_MASKS = [0, 4, 6, 7]
/** Words of a table entry, and of a posted-interrupt descriptor. */
const ENTRY_WORDS = IRTE_BYTES / 4
const DESCRIPTOR_WORDS = PI_DESCRIPTOR.bits / 32
/** Reserved in a posted-interrupt descriptor: bits 271:258, 287:280 and 511:320, as words 8 to 15. */
const RESERVED_LOW = 0xff00fffc | 0
const ON = 1 << 0
const SN = 1 << 1

export class InterruptRemapping {
  readonly #registers: Registers
  readonly #memory: WordMemory
  readonly #faults: FaultLog
  /** The interrupt entry cache, by index. */
  readonly #cache: EntryCache
  readonly #entry = new Int32Array(ENTRY_WORDS)

  constructor(registers: Registers, memory: WordMemory, faults: FaultLog, entries: number) {
    this.#registers = registers
    this.#memory = memory
    this.#faults = faults
    this.#cache = new EntryCache(entries, ENTRY_WORDS, new Int32Array(1))
  }

  clear(): void {
    this.#cache.clear()
  }

  /** IEC invalidation: 2^log2 entries around an index. */
  invalidate(index: number, log2: number): void {
    this.#cache.invalidateWhere((entry) => entry >>> log2 === index >>> log2)
  }

  remap(message: InterruptMessage): Interrupt | Fault {
    const registers = this.#registers
    const low = lo32(message.address)
    if (!registers.remapping) return unmappedInterrupt(low, message.data)
    const extended = (registers.irtaLo & (1 << 11)) !== 0
    const address = Int32Array.of(low)
    const field = (name: keyof typeof REMAPPABLE_ADDRESS.fields) => getNumber(address, REMAPPABLE_ADDRESS.fields[name])
    if (field('FORMAT') === 0) {
      const passes = !extended && (registers.at(REG.GSTS) & GS_CFI) !== 0
      // 5.1.2.1: an interrupt in compatibility format goes on as it is.
      return passes ? unmappedInterrupt(low, message.data) : this.#fault(message, fr.FR_INT_COMPATIBILITY, -1)
    }
    // 20h: with SHV, data bits 31:16 are reserved
    if (field('SHV') === 1 && message.data >>> 16 !== 0) return this.#fault(message, fr.FR_INT_REQUEST_RESERVED, -1)
    const handle = field('HANDLE') | (field('HANDLE_HIGH') << 15)
    const index = field('SHV') === 1 ? handle + (message.data & 0xffff) : handle
    // 21h
    if (index >= 2 << (registers.irtaLo & 15)) return this.#fault(message, fr.FR_INT_INDEX, index)
    const reason = this.#find(index, extended)
    const entry = this.#entry
    const quiet = reason !== fr.FR_IRTE_ACCESS && (entry[0]! & IRTE_FPD) !== 0
    if (reason !== 0) return this.#fault(message, reason, index, quiet)
    if (!this.#sourceFits(message.device & 0xffff)) return this.#fault(message, fr.FR_INT_SOURCE, index, quiet)
    return (entry[0]! & IRTE_IM) === 0 ? remapped(entry, extended) : this.#post(message, index, extended, quiet)
  }

  /** The entry of an index, in `#entry`. @returns 0, or why there is none. */
  #find(index: number, extended: boolean): number {
    const cached = this.#cache.find(index, 0)
    if (cached >= 0) {
      this.#entry.set(this.#cache.words.subarray(cached, cached + ENTRY_WORDS))
      return this.#check(extended)
    }
    const registers = this.#registers
    const pa = this.#addressOf(index)
    const at = pa >= registers.features.hostLimit ? NO_ANSWER : this.#memory.index(pa, IRTE_BYTES)
    if (at < 0) return pa >= registers.features.hostLimit ? fr.FR_INT_INDEX : fr.FR_IRTE_ACCESS
    this.#entry.set(this.#memory.words.subarray(at, at + ENTRY_WORDS))
    const reason = this.#check(extended)
    // 6.4: in caching mode, entries that are no good are cached, too
    if (reason === 0 || registers.features.cachingMode) this.#cache.insert(index, 0, this.#entry)
    return reason
  }

  #addressOf(index: number): number {
    return toDouble(this.#registers.irtaHi, this.#registers.irtaLo & ~0xfff) + index * IRTE_BYTES
  }

  #check(extended: boolean): number {
    if ((this.#entry[0]! & IRTE_P) === 0) return fr.FR_IRTE_NOT_PRESENT
    return checkIrte(this.#entry, 0, this.#registers.features, extended) === 0 ? 0 : fr.FR_IRTE_RESERVED
  }

  /** Whether SVT, SQ and SID let this source-id use the entry. */
  #sourceFits(source: number): boolean {
    const field = (name: 'SVT' | 'SQ' | 'SID') => getNumber(this.#entry, IRTE_REMAPPED.fields[name])
    const sid = field('SID')
    switch (field('SVT')) {
      case SVT_SID:
        return ((sid ^ source) & ~FUNCTION_MASKS[field('SQ')]!) === 0
      case SVT_BUS_RANGE:
        return source >>> 8 >= sid >>> 8 && source >>> 8 <= (sid & 0xff)
      default:
        return true
    }
  }

  /** Interrupt posting (5.2.3): sets the vector's bit in the descriptor, and notifies unless that is not wanted now. */
  #post(message: InterruptMessage, index: number, extended: boolean, quiet: boolean): Interrupt | Fault {
    const field = (name: 'V' | 'URG') => getNumber(this.#entry, IRTE_POSTED.fields[name])
    const low = getBits(this.#entry, 63, 38) << 6
    const high = this.#entry[3]!
    const pa = toDouble(high, low)
    const at = pa >= this.#registers.features.hostLimit ? NO_ANSWER : this.#memory.indexForWrite(pa, DESCRIPTOR_WORDS * 4)
    if (at < 0) return this.#fault(message, fr.FR_PI_ACCESS, index, quiet)
    const { words } = this.#memory
    let reserved = words[at + 8]! & RESERVED_LOW
    for (let word = 10; word < DESCRIPTOR_WORDS; word++) reserved |= words[at + word]!
    if (reserved !== 0) return this.#fault(message, fr.FR_PI_RESERVED, index, quiet)
    const vector = field('V')
    words[at + (vector >>> 5)] = words[at + (vector >>> 5)]! | (1 << (vector & 31))
    const control = words[at + 8]!
    const notified = (control & ON) === 0 && (field('URG') === 1 || (control & SN) === 0)
    if (notified) words[at + 8] = control | ON
    const destination = words[at + 9]! >>> 0
    return {
      ok: true,
      remapped: true,
      vector: (control >>> 16) & 0xff,
      destination: extended ? destination : (destination >>> 8) & 0xff,
      logical: false,
      deliveryMode: 0,
      level: false,
      posted: u64(high, low),
      notified,
    }
  }

  #fault({ device, address, data }: InterruptMessage, code: number, index: number, quiet = false): Fault {
    const reason = fr.faultReason(code)!
    const recorded = this.#faults.reported(code, quiet)
    if (recorded) {
      this.#faults.fillInterrupt(code, device, index)
      this.#faults.push()
    }
    // Conditions that the entry itself decides
    const decided = code !== fr.FR_IRTE_ACCESS && index >= 0 && code !== fr.FR_INT_INDEX
    const which = index < 0 ? `data 0x${(data >>> 0).toString(16)}` : `interrupt index ${index}`
    return {
      ok: false,
      code,
      name: reason.name,
      device,
      pasid: null,
      iova: address,
      access: 'write',
      privileged: false,
      stage: null,
      level: null,
      ipa: null,
      entryAddress: decided ? BigInt(this.#addressOf(index)) : null,
      entry: decided ? u64(this.#entry[1]!, this.#entry[0]!) : null,
      why: `${reason.condition} (${which}; 5.1.4.1)`,
      record: recorded ? wordsToU64(this.#faults.record) : null,
      response: 'unsupported-request',
    }
  }
}

function remapped(entry: Int32Array, extended: boolean): Interrupt {
  const field = (name: 'V' | 'DST' | 'DM' | 'DLM' | 'TM') => getNumber(entry, IRTE_REMAPPED.fields[name])
  const destination = field('DST')
  return {
    ok: true,
    remapped: true,
    vector: field('V'),
    destination: extended ? destination : (destination >>> 8) & 0xff,
    logical: field('DM') === 1,
    deliveryMode: field('DLM'),
    level: field('TM') === 1,
    posted: null,
  }
}
