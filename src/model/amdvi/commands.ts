/**
 * The command buffer. AMD IOMMU specification (48882), 2.4 "Commands", in its order. An illegal command, or one that cannot be read, stops
 * it with the head at that command, until software writes CmdBufEn as 0.
 */
import { getAddress, getNumber, type Layout, uncovered } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import * as op from '../../format/amdvi/commands.ts'
import {
  COMMAND_HARDWARE_ERROR,
  EVENT1_TYPE_SHIFT,
  HARDWARE_MASTER_ABORT,
  ILLEGAL_COMMAND_ERROR,
  IOTLB_INV_TIMEOUT,
} from '../../format/amdvi/events.ts'
import { CONTROL, STATUS_COM_WAIT_INT } from '../../format/amdvi/registers.ts'
import { invalidationRange } from '../common/invalidations.ts'
import type { DeviceMessage } from '../iommu.ts'
import type { Configuration } from './config.ts'
import type { FaultUnit } from './faults.ts'
import type { Interrupts } from './interrupts.ts'
import type { Log } from './log.ts'
import { COMMANDS, type RegisterFile } from './registers.ts'
import type { RemapUnit } from './remap.ts'
import type { Tlb } from './tlb.ts'

/** What commands act on. */
export interface CommandParts {
  readonly memory: WordMemory
  readonly registers: RegisterFile
  readonly interrupts: Interrupts
  readonly events: Log
  readonly config: Configuration
  readonly tlb: Tlb
  readonly faults: FaultUnit
  readonly remap: RemapUnit
  /** Translations for a prefetch; never records anything. */
  prefetch(device: number, pasid: number, page: number): void
  send(message: DeviceMessage): void
  /** Whether devices listen: invalidation requests to nobody are complete at once. */
  readonly devices: boolean
}

/** Features without which a command is illegal. */
const NEEDS: Readonly<Record<number, 'PreFSup' | 'PPRSup' | 'IASup' | 'VIommuSup'>> = {
  [op.OP_PREFETCH_IOMMU_PAGES]: 'PreFSup',
  [op.OP_COMPLETE_PPR_REQUEST]: 'PPRSup',
  [op.OP_INVALIDATE_IOMMU_ALL]: 'IASup',
}
/** Commands to virtual IOMMUs, which this model has not. */
const NEVER = new Set([op.OP_INSERT_GUEST_EVENT, op.OP_RESET_VMMIO])

const ZERO = new Map([...op.COMMANDS.values()].map(({ opcode, layout }) => [opcode, uncovered(layout)]))
const INV_TIMEOUT = CONTROL.fields.InvTimeOut

/** A request that a device has not answered. */
interface Outstanding {
  readonly device: number
  /** Where its command lies. */
  readonly command: number
}

/** What executing a command leads to. */
const COMPLETE = 0
const ILLEGAL = 1
const ABORTED = 2
/** It cannot go on until a device answers. */
const WAITS = 3

export class CommandBuffer {
  readonly #parts: CommandParts
  readonly #words = new Int32Array(op.COMMAND_WORDS)
  /** Invalidation requests that devices have not completed yet, by tag. */
  readonly #outstanding = new Map<number, Outstanding>()
  #nextTag = 0
  /** Physical address of the command that is being executed. */
  #at = 0

  constructor(parts: CommandParts) {
    this.#parts = parts
  }

  /** The device has done it. */
  invalidationComplete(tag: number): void {
    this.#outstanding.delete(tag)
  }

  /** A device did not answer in time (2.5.8): an event, if CONTROL.InvTimeOut says that there is a time. What waits for it goes on. */
  invalidationTimeout(tag: number): void {
    const late = this.#outstanding.get(tag)
    if (late === undefined || (this.#parts.registers.control >>> INV_TIMEOUT.lsb) % 8 === 0) return
    this.#outstanding.delete(tag)
    this.#parts.events.push(Int32Array.of(late.device, IOTLB_INV_TIMEOUT << 28, ...halves(late.command)))
  }

  /** Executes one command. @returns false when there is none, the buffer is off or stopped, or a command waits for a device. */
  step(): boolean {
    const { registers, memory } = this.#parts
    if ((registers.status & COMMANDS.run) === 0) return false
    const mask = registers.ringBytes(COMMANDS) - 1
    const head = registers.get(COMMANDS.head) & mask
    if (head === (registers.get(COMMANDS.tail) & mask)) return false
    this.#at = registers.address(COMMANDS.base) + head
    const index = memory.index(this.#at, op.COMMAND_BYTES)
    if (index < 0) return this.#stop(COMMAND_HARDWARE_ERROR, this.#at)
    for (let word = 0; word < op.COMMAND_WORDS; word++) this.#words[word] = memory.words[index + word]!
    const outcome = this.#legal() ? this.#execute() : ILLEGAL
    if (outcome === WAITS) return false
    if (outcome === ILLEGAL) return this.#stop(ILLEGAL_COMMAND_ERROR, this.#at)
    if (outcome === ABORTED)
      return this.#stop(COMMAND_HARDWARE_ERROR, getAddress(this.#words, op.COMPLETION_WAIT.fields.StoreAddress))
    registers.set(COMMANDS.head, (head + op.COMMAND_BYTES) & mask)
    return true
  }

  #stop(code: number, address: number): false {
    const { registers, events } = this.#parts
    const type = code === COMMAND_HARDWARE_ERROR ? HARDWARE_MASTER_ABORT << EVENT1_TYPE_SHIFT : 0
    const [low, high] = halves(address)
    const event = Int32Array.of(0, (code << 28) | type, low & ~15, high)
    registers.halted = true
    if (code === COMMAND_HARDWARE_ERROR) registers.hardwareError(event)
    events.push(event)
    return false
  }

  #legal(): boolean {
    const { registers } = this.#parts
    const opcode = op.opcodeOf(this.#words)
    const zero = ZERO.get(opcode)
    if (zero === undefined || NEVER.has(opcode)) return false
    for (let word = 0; word < op.COMMAND_WORDS; word++) if ((this.#words[word]! & zero[word]!) !== 0) return false
    const needed = NEEDS[opcode]
    if (needed !== undefined && registers.feature(needed) === 0) return false
    const { GN } = op.INVALIDATE_IOMMU_PAGES.fields
    const guest =
      opcode >= op.OP_INVALIDATE_IOMMU_PAGES && opcode <= op.OP_COMPLETE_PPR_REQUEST && getNumber(this.#words, GN) === 1
    if (guest && registers.feature('GTSup') === 0) return false
    const typed = opcode === op.OP_INVALIDATE_IOTLB_PAGES && this.#field(op.INVALIDATE_IOTLB_PAGES, 'Type') !== 0
    return !typed || registers.feature('InvIotlbTypeSup') === 1
  }

  #field(layout: Layout, name: string): number {
    return getNumber(this.#words, layout.fields[name]!)
  }

  #execute(): number {
    switch (op.opcodeOf(this.#words)) {
      case op.OP_COMPLETION_WAIT:
        return this.#completionWait()
      case op.OP_INVALIDATE_DEVTAB_ENTRY:
        this.#invalidateDevice()
        break
      case op.OP_INVALIDATE_IOMMU_PAGES:
        this.#invalidatePages()
        break
      case op.OP_INVALIDATE_IOTLB_PAGES:
        this.#invalidateIotlb()
        break
      case op.OP_INVALIDATE_INTERRUPT_TABLE:
        this.#parts.remap.invalidate(this.#field(op.INVALIDATE_INTERRUPT_TABLE, 'DeviceID'))
        break
      case op.OP_PREFETCH_IOMMU_PAGES:
        this.#prefetch()
        break
      case op.OP_COMPLETE_PPR_REQUEST:
        this.#completePageRequest()
        break
      default:
        this.#invalidateAll()
    }
    return COMPLETE
  }

  // 2.4.1: all commands before it are complete; commands here are when they are executed, but for what devices do.
  #completionWait(): number {
    if (this.#outstanding.size > 0) return WAITS
    const { memory, interrupts } = this.#parts
    const words = this.#words
    if (this.#field(op.COMPLETION_WAIT, 'S') === 1) {
      const index = memory.indexForWrite(getAddress(words, op.COMPLETION_WAIT.fields.StoreAddress), 8)
      if (index < 0) return ABORTED
      memory.words[index] = words[2]!
      memory.words[index + 1] = words[3]!
    }
    if (this.#field(op.COMPLETION_WAIT, 'I') === 1) interrupts.raise(STATUS_COM_WAIT_INT)
    return COMPLETE
  }

  // 2.4.2
  #invalidateDevice(): void {
    const { config, faults } = this.#parts
    const device = this.#field(op.INVALIDATE_DEVTAB_ENTRY, 'DeviceID')
    config.invalidateDevice(device)
    faults.forget(device)
  }

  // 2.4.3
  #invalidatePages(): void {
    const { config, tlb } = this.#parts
    const layout = op.INVALIDATE_IOMMU_PAGES
    const domain = this.#field(layout, 'DomainID')
    const guest = this.#field(layout, 'GN') === 1
    const pasid = guest ? this.#field(layout, 'PASID') : -1
    const { page, pages } = this.#range()
    if (guest) tlb.invalidateGuest(domain, pasid, page, pages)
    else tlb.invalidateHost(domain, page, pages)
    // PDE: cached entries above the leaves too, of which those of GCR3 tables are the only ones here.
    if (this.#field(layout, 'PDE') === 1) config.invalidateContexts(domain, pasid)
  }

  /** Pages of a command: one, or with S what the lowest clear address bit says, up to all that there are. */
  #range(): { page: number; pages: number } {
    const words = this.#words
    const page = (words[3]! >>> 0) * 1048576 + (words[2]! >>> 12)
    if (this.#field(op.INVALIDATE_IOMMU_PAGES, 'S') === 0) return { page, pages: 1 }
    let ones = 0
    while (ones < 52 && ((ones < 20 ? words[2]! >>> (ones + 12) : words[3]! >>> (ones - 20)) & 1) === 1) ones++
    const pages = 2 ** (ones + 1)
    return { page: Math.floor(page / pages) * pages, pages }
  }

  // 2.4.4
  #invalidateIotlb(): void {
    const parts = this.#parts
    const layout = op.INVALIDATE_IOTLB_PAGES
    if (!parts.devices) return
    const device = this.#field(layout, 'DeviceID')
    const tag = this.#nextTag++
    this.#outstanding.set(tag, { device, command: this.#at })
    const address = (BigInt(this.#words[3]! >>> 0) << 32n) | BigInt((this.#words[2]! & ~0xfff) >>> 0)
    const range = invalidationRange(address, this.#field(layout, 'S') === 1)
    const pasid = this.#field(layout, 'GN') === 1 ? op.iotlbPasid(this.#words) : null
    parts.send({ kind: 'invalidate', device, pasid, ...range, tag })
  }

  // 2.4.6: at most 256 pages; never records anything.
  #prefetch(): void {
    const parts = this.#parts
    const layout = op.PREFETCH_IOMMU_PAGES
    const device = this.#field(layout, 'DeviceID')
    const pasid = this.#field(layout, 'GN') === 1 ? this.#field(layout, 'PASID') : -1
    const { page } = this.#range()
    if (this.#field(layout, 'Inval') === 1) this.#forgetPages(device, pasid)
    for (let each = 0; each <= this.#field(layout, 'PFCount'); each++) parts.prefetch(device, pasid, page + each)
  }

  #forgetPages(device: number, pasid: number): void {
    const { config, tlb } = this.#parts
    const { domain, code } = config.device(device)
    const { page, pages } = this.#range()
    if (code !== 0) return
    if (pasid < 0) tlb.invalidateHost(domain, page, pages)
    else tlb.invalidateGuest(domain, pasid, page, pages)
  }

  // 2.4.7
  #completePageRequest(): void {
    const layout = op.COMPLETE_PPR_REQUEST
    const response = this.#field(layout, 'Response')
    this.#parts.send({
      kind: 'page-response',
      device: this.#field(layout, 'DeviceID'),
      pasid: this.#field(layout, 'GN') === 1 ? this.#field(layout, 'PASID') : null,
      group: this.#field(layout, 'CompletionTag') & 0x1ff,
      code: response === op.PPR_SUCCESS ? 'success' : response === op.PPR_INVALID ? 'invalid' : 'failure',
    })
  }

  // 2.4.8
  #invalidateAll(): void {
    const { config, tlb, faults, remap } = this.#parts
    config.clear()
    tlb.clear()
    faults.forget(null)
    remap.clear()
  }
}

function halves(address: number): [number, number] {
  return [address | 0, (address / 4294967296) | 0]
}
