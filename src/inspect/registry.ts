/** Who reads which kind of IOMMU, and who looks for its tables in memory. A further architecture is one more line. */

import { inspectAmdvi } from './amdvi.ts'
import type { MachineGraph, Names } from './graph.ts'
import { inspectRiscv } from './riscv.ts'
import { amdScanner } from './scan/amdvi.ts'
import type { Scanner } from './scan/contract.ts'
import { riscvScanner } from './scan/riscv.ts'
import { smmuScanner } from './scan/smmuv3.ts'
import { vtdScanner } from './scan/vtd.ts'
import { inspectSmmuV3 } from './smmuv3.ts'
import type { Inspector, MachineSource } from './source.ts'
import { inspectVtd } from './vtd.ts'

interface Reader {
  /** The name that captures use. */
  readonly kind: string
  readonly inspect: Inspector
  /** Makes a scanner that has seen nothing yet. */
  scanner(): Scanner
}

const READERS: readonly Reader[] = [
  { kind: 'smmuv3', inspect: inspectSmmuV3, scanner: smmuScanner },
  { kind: 'vtd', inspect: inspectVtd, scanner: vtdScanner },
  { kind: 'amdvi', inspect: inspectAmdvi, scanner: amdScanner },
  { kind: 'riscv', inspect: inspectRiscv, scanner: riscvScanner },
]

/** By the name that captures use. */
export const INSPECTORS: ReadonlyMap<string, Inspector> = new Map(READERS.map(({ kind, inspect }) => [kind, inspect]))

/** Scanners for the CPUs of a machine (e_machine); all of them where it is not known. */
export function scannersFor(machine: number | null): Scanner[] {
  const all = READERS.map(({ scanner }) => scanner())
  return machine === null ? all : all.filter(({ machines }) => machines.includes(machine))
}

/** A machine that tells what an inspector needs; `Machine` of `machine/` does. */
export interface Inspectable {
  readonly architecture: { readonly kind: string }
  readonly memory: MachineSource['memory']
  register: MachineSource['register']
  names(): Names
}

/** Reads a machine of ours as if it were anybody's. @throws RangeError for a kind of IOMMU that no inspector reads. */
export function inspectMachine(machine: Inspectable, title = 'machine'): MachineGraph {
  const inspect = INSPECTORS.get(machine.architecture.kind)
  if (inspect === undefined)
    throw new RangeError(`no inspector reads ${machine.architecture.kind}; known: ${[...INSPECTORS.keys()].join(', ')}`)
  return inspect({
    title,
    memory: machine.memory,
    register: (offset, bytes) => machine.register(offset, bytes),
    names: machine.names(),
  })
}
