/** Each cause that the specification defines is raised by a case here, or named among those that never are. */
import { describe, expect, it } from 'vitest'
import { POISONED, type WordMemory } from '../../base/memory.ts'
import { CAUSES } from '../../format/riscv/records.ts'
import { REG } from '../../format/riscv/registers.ts'
import { NOT_RAISED } from './not-raised.ts'
import { Machine, MODE } from './setup.suite.ts'

const HOLE = 0x7000_0000
type Access = 'read' | 'write' | 'execute'

/** Data of the page at `pa` is corrupt. */
function poison({ memory }: Machine, pa: number): void {
  const frame = Math.floor(pa / 4096)
  const index = memory.index.bind(memory)
  const indexAt = memory.indexAt.bind(memory)
  const guarded: Pick<WordMemory, 'index' | 'indexAt'> = {
    index: (at) => (Math.floor(at / 4096) === frame ? POISONED : index(at)),
    indexAt: (hi, lo) => (hi * 2 ** 20 + (lo >>> 12) === frame ? POISONED : indexAt(hi, lo)),
  }
  Object.defineProperty(memory, 'index', { value: guarded.index })
  Object.defineProperty(memory, 'indexAt', { value: guarded.indexAt })
}

/** Device 1 has an empty first stage, whose root is at `root`. */
function first(machine: Machine, root: number | null = null): number {
  const at = root ?? machine.table('Sv39').space.root
  machine.dc(1, { 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(at) })
  return at
}

function firstFails(access: Access, root: number | null): (machine: Machine) => void {
  return (machine) => {
    first(machine, root)
    machine.dma(1, 0x1000n, { access })
  }
}

/** Device 1 has an empty second stage. */
function secondFails(access: Access): (machine: Machine) => void {
  return (machine) => {
    machine.dc(1, { 'iohgatp.MODE': MODE.Sv39x4, 'iohgatp.PPN': BigInt(machine.table('Sv39x4').space.root) })
    machine.dma(1, 0x1000n, { access })
  }
}

/** Device 1 has a process directory at `at`. */
function processes(machine: Machine, at: number): number {
  machine.dc(1, { 'tc.PDTV': 1, 'fsc.MODE': 1, 'fsc.PPN': BigInt(at) })
  return at
}

/** A write to an interrupt file of device 1, whose MSI page table is at `at`, with this entry. */
function interrupt(machine: Machine, at: number, entry = 0n): void {
  if (at !== HOLE) machine.memory.write64(at, entry)
  machine.dc(1, {
    'iohgatp.MODE': MODE.Sv39x4,
    'iohgatp.PPN': BigInt(machine.identity().space.root),
    'msiptp.MODE': 1,
    'msiptp.PPN': BigInt(at),
    'msi_addr_mask.mask': 3,
    'msi_addr_pattern.pattern': 0x20000,
  })
}
const send = (machine: Machine) => void machine.dma(1, 0x2000_0000n, { access: 'write' })

const CASES: Readonly<Record<number, (machine: Machine) => void>> = {
  1: firstFails('execute', HOLE),
  5: firstFails('read', HOLE),
  7: firstFails('write', HOLE),
  12: firstFails('execute', null),
  13: firstFails('read', null),
  15: firstFails('write', null),
  20: secondFails('execute'),
  21: secondFails('read'),
  23: secondFails('write'),
  256: (machine) => {
    machine.iommu.write(REG.ddtp, 8, 0n)
    machine.dma(1, 0n)
  },
  257: (machine) => {
    machine.iommu.write(REG.ddtp, 8, 0n)
    machine.iommu.write(REG.ddtp, 8, (BigInt(HOLE) >> 2n) | 2n)
    machine.dma(1, 0n)
  },
  258: (machine) => void machine.dma(1, 0n),
  259: (machine) => {
    machine.dc(1, { 'tc.T2GPA': 1 })
    machine.dma(1, 0n)
  },
  260: (machine) => {
    first(machine)
    machine.dma(1, 0n, { pasid: 1 })
  },
  261: (machine) => {
    interrupt(machine, HOLE)
    send(machine)
  },
  262: (machine) => {
    interrupt(machine, machine.page())
    send(machine)
  },
  263: (machine) => {
    interrupt(machine, machine.page(), 1n)
    send(machine)
  },
  265: (machine) => {
    processes(machine, HOLE)
    machine.dma(1, 0n, { pasid: 1 })
  },
  266: (machine) => {
    processes(machine, machine.page())
    machine.dma(1, 0n, { pasid: 1 })
  },
  267: (machine) => {
    processes(machine, machine.pdt({ 1: { 'fsc.MODE': 15 } }))
    machine.dma(1, 0n, { pasid: 1 })
  },
  268: (machine) => {
    poison(machine, machine.ddt)
    machine.dma(1, 0n)
  },
  269: (machine) => {
    poison(machine, processes(machine, machine.page()))
    machine.dma(1, 0n, { pasid: 1 })
  },
  270: (machine) => {
    const at = machine.page()
    interrupt(machine, at)
    poison(machine, at)
    send(machine)
  },
  273: (machine) => {
    // The vector of the fault queue has an address where nothing answers; what is reported first is why there was an interrupt.
    machine.iommu.write(REG.msi_cfg_tbl + 32, 8, BigInt(HOLE))
    machine.dma(1, 0n)
  },
  274: (machine) => {
    poison(machine, first(machine))
    machine.dma(1, 0x1000n)
  },
}

describe('RISC-V fault causes', () => {
  const never = new Map(NOT_RAISED.map(({ code, why }) => [code, why]))
  for (const [key, name] of Object.entries(CAUSES)) {
    const cause = Number(key)
    const raise = CASES[cause]
    const what = raise === undefined ? 'is named among those that the model never reports, with why' : 'is reported'
    it(`${cause} ${name}: ${what}`, () => {
      expect((raise === undefined) === never.has(cause)).toBe(true)
      if (raise === undefined) return expect(never.get(cause)!.length).toBeGreaterThan(20)
      const machine = new Machine().start(cause === 273 ? 1 : 0)
      raise(machine)
      expect(machine.faults().map(([word]) => Number(word! & 0xfffn))).toEqual(cause === 273 ? [258, 273] : [cause])
    })
  }

  it('have no case and no reason where the specification defines none', () => {
    for (const cause of [...Object.keys(CASES).map(Number), ...never.keys()]) expect(CAUSES[cause]).toBeDefined()
  })
})
