-- Shared as common.lua is: what a job asks for beside being run. One like it at a time (a lock),
-- few of its kind at once or in a time (gates), its turn among others (a key). A job that asks for
-- none of these has no entry in `asks`, and costs a look whether that hash exists. What becomes of
-- it is in locks.lua, gating.lua and turns.lua. These functions use the keys of a script by their
-- names.

-- Laid out by asks.py: until when the lock stays at least, flags, what a turn costs; then texts
-- that end with a zero: lock, key; then a gate after the other: numbers, its limit, its name.
local ASK = '>I8I1d'
local GATE = '>I4dd'
local UNTIL_STARTED = 1 -- the flag at 1: the lock is for the time before the job runs

-- A text that ends with a zero, and where the next thing begins; nil if there is no such zero.
local function text_at(raw, at)
  local stop = string.find(raw, '\0', at, true)
  if stop then return string.sub(raw, at, stop - 1), stop + 1 end
end

-- Whether it is a lock and nothing else: neither a key nor a gate is behind it.
local function is_lock(raw) return #raw >= 19 and string.byte(raw, -2) == 0 end

-- nil for what is none: one broken entry must not stop the others. Jobs of one task often ask for
-- the very same, which is read once a call; locks, which seldom are alike, have a way of their own.
local asks_read, NO_GATES = {}, {}
local function read_ask(raw)
  local ask = asks_read[raw]
  if ask or #raw < 19 then return ask end
  local stays, flags, cost, at = struct.unpack(ASK, raw)
  if is_lock(raw) then
    return { stays = stays, flags = flags, lock = string.sub(raw, at, -3), key = '', gates = NO_GATES }
  end
  local lock, key
  lock, at = text_at(raw, at)
  if at then key, at = text_at(raw, at) end
  ask = { stays = stays, flags = flags, cost = cost, lock = lock, key = key, gates = {} }
  while at and at + 20 <= #raw do
    local gate = {}
    gate.most, gate.interval, gate.slack, at = struct.unpack(GATE, raw, at)
    gate.limit, at = text_at(raw, at)
    if at then gate.name, at = text_at(raw, at) end
    if at then ask.gates[#ask.gates + 1] = gate end
  end
  if not at then return end
  asks_read[raw] = ask
  return ask
end

-- What a new job asks for, with the time until which its lock stays.
local function ask_to_keep(raw, ask, now)
  if ask.stays == 0 then return raw end
  return struct.pack('>I8', now + ask.stays) .. string.sub(raw, 9)
end

-- id -> what it asks for. `starting`: the jobs are to run, which locks have no say in that are kept
-- until they have.
local function asks_of(ids, starting)
  local found = {}
  if #ids == 0 or redis.call('EXISTS', asks) == 0 then return found end
  for i, raw in ipairs(redis.call('HMGET', asks, unpack(ids))) do
    if raw and not (starting and is_lock(raw) and string.byte(raw, 9) % 2 ~= UNTIL_STARTED) then
      found[ids[i]] = read_ask(raw)
    end
  end
  return found
end
