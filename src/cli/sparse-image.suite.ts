/** A raw image of a machine's memory that is mostly holes, with all tables at its end: for a test, and for the benchmark. */
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { UR, UW } from '../base/types.ts'
import { Machine } from '../machine/machine.ts'
import { REGISTER_TABLES } from './architectures.ts'

/** Where the tables lie: the last bytes of the image. */
const TABLES = 32 << 20
const DEVICES = 64
const DOMAINS = 16
const PROCESSES = 128

/** Writes an image of `bytes` and the registers that go with it. @returns the sizes of what is in it. */
export function writeSparseImage(image: string, registers: string, bytes: number): { pages: number } {
  const machine = new Machine({ memory: TABLES, memoryStart: bytes - TABLES, largestDevice: 255, checkStale: false })
  const capabilities = { pasidBits: 8, ats: true, pri: true, stall: false, plain: true, responseNeedsPasid: true }
  const domains = Array.from({ length: DOMAINS }, (_, index) => machine.createDomain(`d${index}`))
  const devices = Array.from({ length: DEVICES }, (_, id) => machine.addDevice({ id, name: `dev${id}`, capabilities }))
  for (const [index, { core }] of devices.entries()) machine.run(machine.iommu.attach(domains[index % DOMAINS]!, core))
  for (let index = 0; index < PROCESSES; index++) {
    const { mm } = machine.addProcess(`p${index}`)
    machine.run(mm.mmap(0x10000n, 0x40000n, UR | UW))
    for (let page = 0; page < 8; page++) machine.run(mm.access(0x10000n + BigInt(page * 8192), 'write'))
    machine.run(machine.iommu.bind(devices[index % DEVICES]!.core, mm))
  }
  const descriptor = openSync(image, 'w')
  ftruncateSync(descriptor, bytes)
  let pages = 0
  machine.memory.forEachFrame((pa, words, at) => {
    writeSync(descriptor, new Uint8Array(words.buffer, at * 4, 4096), 0, 4096, pa)
    pages++
  })
  closeSync(descriptor)
  const table = REGISTER_TABLES.find(({ kind }) => kind === machine.architecture.kind)!
  const values = table.registers.map(({ name, offset, bytes: size }) => ({
    name,
    offset,
    size,
    value: `0x${machine.register(offset, size).toString(16)}`,
  }))
  writeFileSync(registers, JSON.stringify({ iommu: table.kind, registers: values }))
  return { pages }
}
