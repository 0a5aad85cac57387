#!lua flags=allow-oom
-- reclaim | keys: live errors ready running waiting dead cancelled cancels holders claims wake timer meta ended asks locks lapses limits gated entered rates opens counting counts events | edges: waiting->ready running->ready running->dead running->cancelled
--
-- Takes back the jobs of a holder that ended, in chunks. The holder is marked dead first, so it
-- claims nothing more, and dropped with the last chunk. Holder "" stands for every holder that
-- is unknown: a job it holds belongs to nobody. The chunks go from the latest claim back to the
-- first, each to the front of the queue, so that the jobs stand there in their old order.
-- ARGV: now, holder, how (reap: only if its lease is over; died: its process is known to be
--   dead), cursor (0 at first), lost limit, retention of dead and cancelled ms, failure (a JSON
--   line, for a job that is given up), then the ids of the jobs that it had started
-- Reply: taken (ids joined by spaces), the next cursor (-1: done), given up (ids)

local now = clock(ARGV[1])
local holder, how, cursor = ARGV[2], ARGV[3], tonumber(ARGV[4])
local lost_limit, retention, failure = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local started = {}
for i = 8, #ARGV do started[ARGV[i]] = true end
local function drop()
  if holder == '' then return end
  redis.call('ZREM', holders, holder)
  redis.call('HDEL', claims, holder)
end
local SCAN, MOST = 500, 100

if holder ~= '' then
  local until_ms = redis.call('ZSCORE', holders, holder)
  if not until_ms then return { '', -1, '' } end
  if how == 'reap' and tonumber(until_ms) > now then return { '', -1, '' } end
  redis.call('ZADD', holders, 0, holder)
  set_wake(wake, ready) -- the dead may have taken a token without using it
end

local from = cursor > 0 and cursor or '+inf'
local found = redis.call('ZRANGE', running, from, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, SCAN, 'WITHSCORES')
local ids, scores = {}, {}
for i = 1, #found, 2 do
  ids[#ids + 1] = found[i]
  scores[#scores + 1] = tonumber(found[i + 1])
end
if #ids == 0 then
  drop()
  return { '', -1, '' }
end

local lives = redis.call('HMGET', live, unpack(ids))
local taken, records = {}, {}
local back, hopeless, called_off, keep = {}, {}, {}, {}
local crashed = 0 -- of those that run again
local next_cursor = -1
for i, id in ipairs(ids) do
  local l = read_live(lives[i])
  local owner = string.sub(l.tail, 1, 22)
  local match = owner == holder
  if holder == '' then match = not redis.call('ZSCORE', holders, owner) end
  if match then
    if #taken == MOST then
      next_cursor = scores[i]
      break
    end
    taken[#taken + 1] = id
    l.fence = l.fence + 1
    l.settled = l.fence
    l.tail = ''
    if how == 'reap' then
      l.lost = l.lost + 1
    elseif started[id] then
      l.crashes = math.max(l.crashes, 1) -- run it alone: what it brings down there counts, see exchange
    end
    local asked = redis.call('HGET', cancels, id)
    if asked then
      keep[id] = kept_for(asked, retention)
      called_off[#called_off + 1] = id
      l.ended = now
    elseif l.lost > lost_limit then
      hopeless[#hopeless + 1] = id
      l.ended = now
    else
      if how == 'died' and started[id] then crashed = crashed + 1 end
      back[#back + 1] = { id, l.priority, math.floor(scores[i] / TICKS), l.request, scores[i] }
    end
    records[#records + 1] = id
    records[#records + 1] = pack_live(l)
  end
end

local asked = asks_of(taken)
if #taken > 0 then
  redis.call('ZREM', running, unpack(taken))
  redis.call('HSET', live, unpack(records))
  leave(taken, asked, {}, now)
  keep_rates(now)
end
if #back > 0 then
  local front = front_of(meta, #back)
  local places, again = {}, {}
  table.sort(back, function(a, b) -- the ms of the claim, which claim of that ms, the place in it
    if a[3] ~= b[3] then return a[3] < b[3] end
    if a[4] ~= b[4] then return a[4] < b[4] end
    return a[5] < b[5]
  end)
  for i, job in ipairs(back) do
    places[#places + 1] = ready_score(job[2], front + i)
    places[#places + 1] = job[1]
    again[i] = job[1]
  end
  relock(again, asked, now)
  redis.call('ZADD', ready, unpack(places))
  set_wake(wake, ready)
end
local function finish(list, set)
  if #list == 0 then return end
  local pairs_ = {}
  for _, id in ipairs(list) do
    pairs_[#pairs_ + 1] = now + math.max(keep[id] or retention, least_kept())
    pairs_[#pairs_ + 1] = id
  end
  redis.call('ZADD', set, unpack(pairs_))
  unlock(list, asked, now)
  redis.call('SPUBLISH', ended, table.concat(list, ' '))
end
finish(hopeless, dead)
finish(called_off, cancelled)
count_in({ K = #hopeless, C = #called_off, X = crashed }, now) -- nobody says of which tasks
send('HDEL', cancels, called_off)
if #hopeless > 0 then
  local old = redis.call('HMGET', errors, unpack(hopeless))
  local lines = {}
  for i, id in ipairs(hopeless) do
    lines[#lines + 1] = id
    lines[#lines + 1] = add_error(old[i], failure)
  end
  redis.call('HSET', errors, unpack(lines))
end

note(taken)
if next_cursor < 0 and #ids == SCAN then
  -- Ties at the edge are looked at again; a page that is one tie is stepped over.
  next_cursor = scores[#scores] == cursor and cursor - 1 or scores[#scores]
end
if next_cursor < 0 then drop() end
return { table.concat(taken, ' '), next_cursor, table.concat(hopeless, ' ') }
